"""The page of a job: it stands alone, and nothing in a job becomes markup."""

import html
import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manta.cli.job_page import LINES_MAX, page
from manta.cli.job_timeline import BARS_MAX, NODES_MAX, timeline
from manta.sdk.jobs import JobStatus, PhaseStatus, TaskCounts

_TAGS = {"html", "meta", "title", "style", "h1", "h2", "p", "dl", "div", "dt", "dd", "b", "span", "pre", "table"}
_TAGS |= {"tr", "th", "td", "h3", "svg", "rect", "line", "text", "i"}
_DRAWN = {"viewbox", "role", "x", "x1", "x2", "y", "y1", "y2", "width", "height", "rx"}


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attributes)))


def _job(text: str) -> JobStatus:
    return JobStatus(
        text, "done", text, phases=(PhaseStatus("map", text, TaskCounts(committed=2, failed=1)),), errors=1
    )


def _document(text: str, *, more: bool = False) -> dict[str, Any]:
    document = {"name": text, "phases": [{"type": "map", "exec": text}], "inputs": [text]}
    return {"document": document, "more_inputs": more}


def _time(moment_s: float | None) -> str | None:
    return None if moment_s is None else datetime.fromtimestamp(moment_s, UTC).isoformat()


def _task(number: int, began_s: float, ended_s: float | None, state: str = "committed", **more: Any) -> dict[str, Any]:
    given = {
        "task": number, "phase": 0, "state": state, "attempt": 1, "node": "n1", "input": "b/k",
        "leased": _time(began_s),
        "started": None if ended_s is None else _time(began_s), "ended": _time(ended_s), "earlier": [],
    }  # fmt: skip
    return given | more


def _tags(text: str) -> list[tuple[str, tuple[str, ...]]]:
    error = {"input": text, "code": text, "message": text, "stderr": text + ".", "node": text}
    parser = _Tags()
    output = {"bucket": text, "key": text, "size": 7}
    parser.feed(page(_job(text), _document(text), [_task(1, 0, 1, input=text, node=text)], [output], [error], 100.0))
    return parser.tags


@given(st.text(alphabet=st.sampled_from("<>\"'&/=abc script")))
def test_nothing_in_a_job_becomes_markup(text: str) -> None:
    assert _tags(text + "x") == _tags("x")


@pytest.mark.parametrize("name", ["می\u200cخواهم.txt", "👨\u200d👩\u200d👧.jpg", "soft\u00adhyphen", "\U0001fae8"])
def test_names_of_people_s_own_letters_and_pictures_stay_as_they_are(name: str) -> None:
    assert name in page(_job(name), _document("x"), [], [], [], 0.0)


@pytest.mark.parametrize(("name", "told"), [("a\x1b[2Jb", "a\\x1b[2Jb"), ("a\u202egpj.b", "a\\x202egpj.b")])
def test_what_moves_a_cursor_or_turns_a_line_is_written_out(name: str, told: str) -> None:
    text = page(_job(name), _document(name), [], [], [], 0.0)
    assert told in text
    assert not {"\x1b", "\u202e"} & set(text)


def test_the_document_is_there_whole_and_says_when_there_is_more() -> None:
    text = page(JobStatus("j", "done"), _document("a <b> & 'c'"), [], [], [], 100.0)
    shown = re.findall(r"<h2>Document</h2><pre>(.*?)</pre>", text, re.DOTALL)
    assert [json.loads(html.unescape(one)) for one in shown] == [_document("a <b> & 'c'")["document"]]
    more = page(JobStatus("j", "done"), _document("x", more=True), [], [], [], 100.0)
    assert "It has more inputs than these." in more


def test_nothing_is_loaded_from_elsewhere() -> None:
    tags = _tags("x")
    assert {tag for tag, _ in tags} <= _TAGS
    assert {name for _, names in tags for name in names} - _DRAWN <= {
        "lang",
        "charset",
        "name",
        "content",
        "http-equiv",
        "style",
        "class",
    }
    text = page(_job("x"), _document("x"), [_task(1, 0, 1)], [], [], 100.0)
    assert "url(" not in text
    assert "default-src 'none'" in text


def test_a_page_is_bounded_and_says_so() -> None:
    lines = ({"bucket": "b", "key": str(number), "size": 1} for number in range(5000))
    status = JobStatus("j", "done", outputs=5000)
    text = page(status, _document("x"), [], lines, [], 100.0)
    assert f"The first {LINES_MAX:,} of 5,000." in text
    assert text.count("s3://b/") == LINES_MAX


def test_other_attempts_are_told_one_by_one_however_many_tasks_there_are() -> None:
    why = "NodeLost</td>"
    lost = {"attempt": 1, "node": "n<2", "started": _time(10), "ended": _time(30), "why": why}
    many = (_task(n, 10, 11, attempt=2, earlier=[lost] if n % 2 else []) for n in range(2 * BARS_MAX))
    text = page(JobStatus("j", "done"), _document("x"), many, [], [], 100.0)
    assert f"The first {LINES_MAX:,} of {BARS_MAX:,}." in text
    cells = ("1 b/k", "1", "n&lt;2", "00:00:10", "00:00:30", "failed NodeLost&lt;/td&gt;")
    assert "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>" in text
    assert "Other attempts" not in page(JobStatus("j", "done"), _document("x"), [_task(1, 0, 1)], [], [], 100.0)


def _bars(text: str) -> list[tuple[str, float, float, float]]:
    """(class, x, y, width) of each bar."""
    found = re.findall(r'<rect class="([^"]+)" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)"', text)
    return [(kind, float(x), float(y), float(width)) for kind, x, y, width in found]


def test_attempts_lie_where_and_when_they_ran() -> None:
    lost = {"attempt": 1, "node": "n2", "started": _time(10), "ended": _time(30), "why": "NodeLost"}
    tasks = [
        _task(1, 10, 20),
        _task(2, 15, 35, "failed"),
        _task(3, 20, 30, "committed", phase=1),
        _task(4, 50, 60, attempt=2, earlier=[lost]),
        _task(5, 80, None, "running"),
        _task(6, 0, None, "ready", node=None),
    ]
    text = timeline(tasks, 10, 110)
    assert text.index(">n1<") < text.index(">n2<")
    first, second = text.split(">n2<")
    assert _bars(first) == [
        ("p0", 0, 1, 96), ("p1", 96, 1, 96), ("p0", 384, 1, 96), ("p0 now", 672, 1, 288), ("no", 48, 10, 192)
    ]  # fmt: skip
    assert _bars(second) == [("lost", 0, 1, 192)]
    assert "task 4, attempt 1, lost: node stopped answering, 20s: b/k" in second


def test_a_nodes_clock_that_differs_draws_nothing_outside() -> None:
    text = timeline([_task(1, 0, 20), _task(2, 90, 500), _task(3, 700, 800)], 10, 110)
    assert all(x >= 0 and x + width <= 961 for _, x, _, width in _bars(text))
    assert len(_bars(text)) == 3
    assert timeline([], 10, 110) == ""
    assert timeline([_task(1, 5, 5)], 5, 5)


def test_many_attempts_are_drawn_by_how_many_ran_at_a_time() -> None:
    many = 20 * BARS_MAX
    tasks = (_task(n, 10 + n % 50, 11 + n % 50, "failed" if n % 3 == 0 else "committed") for n in range(many))
    text = timeline(tasks, 10, 110)
    assert f"{many:,} attempts" in text
    assert f"at most {many / 50:.1f} at a time" in text
    assert len(text) < 60_000
    good = text.count('<rect class="p0"')
    assert (good, text.count('<rect class="no"')) == (120, 120), "half of the time, and of 240 columns"


def test_many_nodes_are_bounded_and_told() -> None:
    text = timeline([_task(n, 10, 20, node=f"n{n}") for n in range(NODES_MAX + 7)], 10, 110)
    assert text.count("<svg") == NODES_MAX
    assert "not shown: 7." in text
