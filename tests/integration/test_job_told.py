"""What a job tells: its document, whole; each failure, whole; and both on the page that `manta job share` makes."""

import html
import json
import re
from typing import Any

import pytest

from manta.core.errors import NoSuchJob
from manta.sdk import Store
from tests.property.test_job_written import EVERYTHING
from tests.support.shared_store import shared_store, store
from tests.support.store import RunningStore
from tests.support.store_jobs import await_done, fill_bucket, map_phase, reduce_phase

__all__ = ["store"]

running = shared_store("--nodes", "1")
COMMAND = 'echo "<said> by ${MANTA_INPUT_OBJECT##*/}" >&2; test "${MANTA_INPUT_OBJECT##*/}" != bad || exit 7'


def test_the_document_of_a_job_is_what_was_posted(store: Store) -> None:
    store.make_bucket("results")
    document = EVERYTHING | {"max_errors": 1000}  # none of its inputs is there, and a cancelled job takes no more
    job = store.job(store.api("POST", "/jobs", body=document)["id"])
    assert job.document() == {"document": document, "more_inputs": False}
    job.add(f"s3://books/{number}" for number in range(150))
    shown = job.document()
    job.cancel()
    inputs = EVERYTHING["inputs"] + [f"s3://books/{number}" for number in range(98)]
    assert shown == {"document": document | {"inputs": inputs}, "more_inputs": True}


def test_another_accounts_document_is_not_shown(running: RunningStore, store: Store) -> None:
    job = store.job(store.api("POST", "/jobs", body={"phases": [map_phase("cat")]})["id"])
    with running.new_account("curious") as curious, pytest.raises(NoSuchJob):
        curious.job(job.id).document()
    job.cancel()


def test_the_page_of_a_job_has_its_document_and_its_failures(running: RunningStore, store: Store) -> None:
    fill_bucket(store, "paged", {"good": b"1\n", "bad": b"2\n"})
    phases = [map_phase(COMMAND, env={"MARK": "<b>"}, retries=1), reduce_phase("wc -l")]
    document = {"name": "pages & <more>", "phases": phases, "inputs": ["s3://paged/"]}
    job = await_done(store.job(store.api("POST", "/jobs", body=document)["id"]))
    shared = running.manta("job", "share", job.id)
    assert shared.returncode == 0, shared.stderr
    text = shared.stdout.decode()
    (shown,) = re.findall(r"<h2>Document</h2><pre>(.*?)</pre>", text, re.DOTALL)
    told = json.loads(html.unescape(shown))
    assert told == job.document()["document"]
    assert [phase["exec"] for phase in told["phases"]] == [COMMAND, "wc -l"]
    assert (told["name"], told["inputs"], told["phases"][0]["env"]) == (
        "pages & <more>",
        ["s3://paged/"],
        {"MARK": "<b>"},
    )
    (failure,) = job.errors()
    assert html.escape(failure["message"]) in text
    assert "<pre>&lt;said&gt; by bad</pre>" in text
    assert "<said>" not in text
    assert not re.search(r"<(script|link|img|iframe)|https?://", text), "it stands alone"


def test_an_error_line_is_whole(store: Store) -> None:
    """Its twelve fields, its number and its range, of a failure in the second phase."""
    fill_bucket(store, "twelve", {"bad": b"2\n"})
    job = await_done(
        store.submit(
            [map_phase("cat"), map_phase(f"cat; {COMMAND.replace('bad', '00000001')}")], inputs=["s3://twelve/bad"]
        )
    )
    (error,) = job.errors()
    times: dict[str, Any] = {name: error[name] for name in ("started", "ended")}
    assert times["started"] <= times["ended"]
    (task,) = job.tasks(state="failed")
    assert times == {"started": task["started"], "ended": task["ended"]}
    assert error == times | {
        "seq": 1,
        "range": None,
        "phase": 1,
        "task": task["task"],
        "attempt": 1,
        "input": f"job-{job.id}/map-0/00000001",
        "first_input": "twelve/bad",
        "code": "UserTaskError",
        "message": "The task ended with exit status 7.",
        "exit_status": 7,
        "signal": None,
        "stderr": "<said> by 00000001\n",
        "node": "node-1",
    }
