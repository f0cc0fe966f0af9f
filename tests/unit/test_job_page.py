"""The page of a job: it stands alone, and nothing in a job becomes markup."""

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from manta.cli.job_page import LINES_MAX, page
from manta.sdk.jobs import JobStatus, PhaseStatus, TaskCounts

_TAGS = {"html", "meta", "title", "style", "h1", "h2", "p", "dl", "div", "dt", "dd", "b", "span", "pre", "table"}
_TAGS |= {"tr", "th", "td"}


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


def _tags(text: str) -> list[tuple[str, tuple[str, ...]]]:
    error = {"input": text, "code": text, "message": text, "stderr": text + ".", "node": text}
    parser = _Tags()
    parser.feed(page(_job(text), [{"bucket": text, "key": text, "size": 7}], [error]))
    return parser.tags


@given(st.text(alphabet=st.sampled_from("<>\"'&/=abc script")))
def test_nothing_in_a_job_becomes_markup(text: str) -> None:
    assert _tags(text + "x") == _tags("x")


def test_nothing_is_loaded_from_elsewhere() -> None:
    tags = _tags("x")
    assert {tag for tag, _ in tags} <= _TAGS
    assert {name for _, names in tags for name in names} <= {
        "lang",
        "charset",
        "name",
        "content",
        "http-equiv",
        "style",
        "class",
    }
    text = page(_job("x"), [], [])
    assert "url(" not in text
    assert "default-src 'none'" in text


def test_a_page_is_bounded_and_says_so() -> None:
    lines = ({"bucket": "b", "key": str(number), "size": 1} for number in range(5000))
    status = JobStatus("j", "done", outputs=5000)
    text = page(status, lines, [])
    assert f"The first {LINES_MAX:,} of 5,000." in text
    assert text.count("s3://b/") == LINES_MAX
