"""An attempt that writes on after its lease was lost: nothing of it is ever seen (J1, J2)."""

import hashlib
import os
import secrets
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from manta.core.limits import LEASE_S
from manta.sdk import Store
from tests.support.ordinary_user import user_of
from tests.support.processes import descendants
from tests.support.siege import GOOD, GOOD_LINES, OBJECT, ended, outputs
from tests.support.store import RunningStore, running_store
from tests.support.surroundings import files_of, looks_of, processes_with
from tests.support.waiting import await_condition

_COMMAND = """
echo "attempt $MANTA_ATTEMPT"
if [ "$MANTA_ATTEMPT" = 1 ]; then
    while :; do echo late; echo late | mput eve/late; echo late | mpipe; sleep 0.05; done
fi
"""


@pytest.fixture(params=["root", "user"])
def running(request: pytest.FixtureRequest) -> Iterator[RunningStore]:
    user = user_of(request.param)
    with tempfile.TemporaryDirectory(prefix="manta-stale-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with running_store(folder / "s", "--nodes", "3", "--copies", "2", user=user) as running:
            yield running


@pytest.mark.slow
@pytest.mark.invariant("J1", "J2", "S4")
def test_j2_a_stale_attempt_writes_on_and_changes_nothing(running: RunningStore) -> None:
    """Its node stands still until another has done the task; then it goes on, its task never stopped writing."""
    mark = f"WRITER={secrets.token_hex(8)}"
    with running.client() as store:
        for bucket in ("eve", "good"):
            store.make_bucket(bucket)
        store.write("s3://eve/in", OBJECT)
        for key, data in GOOD.items():
            store.write(f"s3://good/{key}", data)
        files = files_of(running, OBJECT, 2)
        before = [looks_of(file) for file in files]
        environment = dict([mark.split("=")])
        job = store.submit([{"type": "map", "exec": _COMMAND, "env": environment}], inputs=["s3://eve/in"])
        node = _node_of_first_attempt(running, mark)
        os.kill(node, signal.SIGSTOP)
        try:
            ended(job)
            assert _good_lines(store) == GOOD_LINES
            assert _is_below(node, processes_with(mark)), "the stale attempt did not outlive its lease"
        finally:
            os.kill(node, signal.SIGCONT)
        assert _good_lines(store) == GOOD_LINES
        assert outputs(store, job) == [b"attempt 2\n"]
        _await_no_writer(mark)
        assert [entry.key for entry in store.objects("s3://eve/")] == ["in"]
        assert outputs(store, job) == [b"attempt 2\n"]
        assert list(job.errors()) == []
        assert hashlib.sha256(store.read("s3://eve/in")).digest() == hashlib.sha256(OBJECT).digest()
        assert [looks_of(file) for file in files] == before


def _good_lines(store: Store) -> int:
    good = store.submit([{"type": "map", "exec": "wc -l"}], inputs=["s3://good/"])
    return sum(map(int, outputs(store, ended(good))))


def _is_below(node: int, pids: list[int]) -> bool:
    return any(pid in descendants(node) for pid in pids)


def _node_of_first_attempt(running: RunningStore, mark: str) -> int:
    """The node process whose zone the writer runs in."""
    found: list[int] = []

    def there() -> bool:
        nodes = [pid for name, pid in running.children().items() if name.startswith("node")]
        writers = processes_with(mark)
        found[:] = [node for node in nodes if _is_below(node, writers)]
        return bool(found)

    await_condition(there, "the start of the first attempt", 4 * LEASE_S)
    return found[0]


def _await_no_writer(mark: str) -> None:
    await_condition(lambda: not processes_with(mark), "the end of the stale attempt", 4 * LEASE_S)
