"""What the node keeps of its tasks' stderr is bounded and expires (O2)."""

import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.agent.stderr.expiry import Expiry
from jobs.agent.stderr.feed import Said
from jobs.agent.stderr.store import StderrStore
from jobs.agent.uplink.transport import GatewayUnreachable
from jobs.model.questions import StderrTail
from manta.core.errors import InvalidArgument, SlowDown
from manta.core.limits import (
    DAY_S,
    FEED_BYTES,
    FEED_QUIET_S,
    FEEDS_ACCOUNT_MAX,
    FEEDS_MAX,
    JOBS_ASKED_MAX,
    MIB,
    STDERR_DISK_FRACTION,
    STDERR_KEEP_BYTES,
    STDERR_TOTAL_MAX_BYTES,
)
from manta.core.names import new_job_id
from manta.sdk.transport import AWAY_S
from storage_nodes.disk import space
from storage_nodes.disk.space import Space
from tests.support.waiting import eventually

OWNER = "owner"


class _Clock:
    now_s = 1_000_000_000.0

    def wall_s(self) -> float:
        return self.now_s

    def monotonic_s(self) -> float:
        return self.now_s


class _Long:
    """Of a task that said more than is kept."""

    said = 1_000_000

    def tail(self) -> bytes:
        return b"the end" if self.said else b""


def _job(clock: _Clock) -> str:
    clock.now_s += 1
    return new_job_id(int(clock.now_s * 1000))


def _store(
    folder: Path, clock: _Clock, limit: int = 5 * 4096, remove: Callable[[Path], object] = shutil.rmtree
) -> StderrStore:
    store = StderrStore(folder / "stderr", clock, limit, remove)
    store.load()
    return store


def test_what_was_said_is_kept_across_a_restart(tmp_path: Path) -> None:
    clock = _Clock()
    job = _job(clock)
    _store(tmp_path, clock).keep(job, 7, 1, b"why\n")
    again = _store(tmp_path, clock)
    assert again.read(job, 7).data == b"why\n"
    assert again.total_bytes == 4096


def test_silence_makes_no_file(tmp_path: Path) -> None:
    store = _store(tmp_path, _Clock())
    job = _job(_Clock())
    store.keep(job, 7, 1, b"")
    assert store.read(job, 7).data == b""
    assert list((tmp_path / "stderr").iterdir()) == []


def test_a_silent_second_attempt_replaces_what_the_first_said(tmp_path: Path) -> None:
    store = _store(tmp_path, _Clock())
    job = _job(_Clock())
    store.keep(job, 7, 1, b"first")
    store.keep(job, 7, 2, b"")
    assert store.read(job, 7).data == b""


@pytest.mark.invariant("O2")
def test_the_oldest_jobs_go_first_and_the_newest_never_pushes_itself_out(tmp_path: Path) -> None:
    """O2: all files together stay within the bound."""
    clock = _Clock()
    store = _store(tmp_path, clock)
    jobs = [_job(clock) for _ in range(3)]
    for job in jobs:
        for task in range(2):
            store.keep(job, task, 1, b"x" * 100)
    assert [store.read(job, 0).data for job in jobs] == [b"", b"x" * 100, b"x" * 100]
    for task in range(2, 10):
        store.keep(jobs[2], task, 1, b"y")
    assert store.total_bytes <= 5 * 4096
    assert store.read(jobs[2], 0).data == b"x" * 100
    assert store.dropped == 5
    store.keep(jobs[0], 5, 1, b"late and old")
    assert store.dropped == 6


class _Gateway:
    """Answers which jobs are gone, if it answers."""

    def __init__(self, *gone: str, away_after: int = 1000) -> None:
        self.gone = gone
        self.asked: list[tuple[str, ...]] = []
        self._away_after = away_after

    async def call(self, name: str, message: Any, kind: type[Any]) -> Any:
        assert name == "jobs"
        if len(self.asked) == self._away_after:
            raise GatewayUnreachable
        self.asked.append(message.job_ids)
        return kind(tuple(job for job in message.job_ids if job in self.gone))


@pytest.mark.invariant("O2")
async def test_stderr_goes_with_its_job_and_not_before(tmp_path: Path) -> None:
    """O2. However old the job is: when it goes is for a gateway to say."""
    clock = _Clock()
    store = _store(tmp_path, clock)
    gone, old = _job(clock), _job(clock)
    for job in (gone, old):
        store.keep(job, 1, 1, b"said")
    clock.now_s += 1000 * DAY_S
    gateway = _Gateway(gone)
    await Expiry("n1", store, gateway).round()
    assert gateway.asked == [(gone, old)]
    assert [path.name for path in (tmp_path / "stderr").iterdir()] == [old]
    assert (store.read(gone, 1).data, store.read(old, 1).data, store.total_bytes) == (b"", b"said", 4096)


@pytest.mark.invariant("O2")
async def test_jobs_are_asked_for_in_pages_and_kept_while_nobody_answers(tmp_path: Path) -> None:
    clock = _Clock()
    store = _store(tmp_path, clock, limit=1 << 30)
    jobs = [_job(clock) for _ in range(JOBS_ASKED_MAX + 2)]
    for job in jobs:
        store.keep(job, 1, 1, b"said")
    away = _Gateway(*jobs, away_after=1)
    await Expiry("n1", store, away).round()
    assert [len(page) for page in away.asked] == [JOBS_ASKED_MAX]
    assert store.jobs() == tuple(jobs[JOBS_ASKED_MAX:])
    await Expiry("n1", store, _Gateway(*jobs)).round()
    assert store.jobs() == ()


def test_an_attempt_is_read_until_a_further_one_has_ended(tmp_path: Path) -> None:
    store = _store(tmp_path, _Clock())
    job = _job(_Clock())
    store.keep(job, 1, 1, b"first")
    store.watch(job, 1, 2, Said(b"sec"))
    assert store.read(job, 1, 1) == StderrTail(1, 5, b"first")
    assert store.read(job, 1, 2) == store.read(job, 1) == StderrTail(2, 3, b"sec")
    store.watch(job, 1, 2, Said(b"second"))
    store.keep(job, 1, 2, b"second")
    assert store.read(job, 1, 1) == StderrTail(0, 0, b"")
    assert store.read(job, 1, 2) == StderrTail(2, 6, b"second")


async def test_a_node_that_starts_anew_tells_that_lines_are_missing(tmp_path: Path) -> None:
    """To who asked it before, once; not to who did not."""
    clock = _Clock()
    store, job = _store(tmp_path, clock), _job(clock)
    quiet = await store.feeds.news(job, OWNER, 0, wait=False)
    assert (quiet.pieces, quiet.missing) == ((), False)
    store.keep(job, 1, 1, b"said")
    heard = await store.feeds.news(job, OWNER, 0, wait=False)
    clock.now_s += 5
    again = _store(tmp_path, clock)
    first = await again.feeds.news(job, OWNER, heard.last, wait=False)
    assert (first.pieces, first.missing) == ((), True)
    second = await again.feeds.news(job, OWNER, first.last, wait=False)
    assert (second.pieces, second.missing) == ((), False)
    assert not (await again.feeds.news(job, OWNER, 0, wait=False)).missing


async def test_a_first_burst_that_is_more_than_a_feed_holds_is_told(tmp_path: Path) -> None:
    """By who follows since before anything was said."""
    clock = _Clock()
    store, job = _store(tmp_path, clock, 100 * MIB), _job(clock)
    quiet = await store.feeds.news(job, OWNER, 0, wait=False)
    for task in range(2 * FEED_BYTES // STDERR_KEEP_BYTES):
        store.keep(job, task, 1, b"x" * STDERR_KEEP_BYTES)
    burst = await store.feeds.news(job, OWNER, quiet.last, wait=False)
    assert burst.missing


def test_what_nobody_keeps_is_forgotten_without_a_word(tmp_path: Path) -> None:
    store = _store(tmp_path, _Clock())
    job = _job(_Clock())
    store.keep(job, 1, 1, b"said")
    store.forget_jobs(["../..", "0" * 20])
    assert store.jobs() == (job,)


def test_a_later_attempt_takes_the_room_of_the_one_before(tmp_path: Path) -> None:
    store = _store(tmp_path, _Clock())
    job = _job(_Clock())
    store.keep(job, 7, 1, b"x" * 5000)
    assert store.total_bytes == 8192
    for _ in range(20):
        store.keep(job, 7, 2, b"again")
    assert (store.total_bytes, store.dropped, store.read(job, 7).data) == (4096, 0, b"again")
    store.keep(job, 7, 2, b"")
    assert store.total_bytes == 0


async def test_removal_happens_beside_the_event_loop(tmp_path: Path) -> None:
    clock = _Clock()
    store = StderrStore(tmp_path / "stderr", clock)
    store.load()
    job = _job(clock)
    store.keep(job, 1, 1, b"old")
    store.forget_jobs([job])
    await eventually(lambda: not (tmp_path / "stderr" / job).exists())


def test_a_running_task_is_read_live(tmp_path: Path) -> None:
    store = _store(tmp_path, _Clock())
    job = _job(_Clock())
    store.watch(job, 1, 1, Said(b"so far"))
    assert store.read(job, 1).data == b"so far"
    store.keep(job, 1, 1, b"so far and no further")
    assert store.read(job, 1).data == b"so far and no further"


def test_a_tail_tells_whose_it_is_and_how_much_was_said(tmp_path: Path) -> None:
    """An agent that starts again knows the tail alone."""
    store = _store(tmp_path, _Clock())
    job = _job(_Clock())
    assert store.read(job, 1) == StderrTail(0, 0, b"")
    long = _Long()
    store.watch(job, 1, 3, long)
    assert store.read(job, 1) == StderrTail(3, 1_000_000, b"the end")
    store.keep(job, 1, 3, long.tail())
    assert store.read(job, 1) == StderrTail(3, 1_000_000, b"the end")
    assert _store(tmp_path, _Clock()).read(job, 1) == StderrTail(0, 7, b"the end")


@pytest.mark.invariant("S2")
def test_no_job_id_names_a_path(tmp_path: Path) -> None:
    """S2."""
    store = _store(tmp_path, _Clock())
    with pytest.raises(InvalidArgument):
        store.read("../../etc", 1)


def test_a_full_disk_costs_the_task_nothing(tmp_path: Path) -> None:
    store = _store(tmp_path, _Clock())
    shutil.rmtree(tmp_path / "stderr")
    store.keep(_job(_Clock()), 1, 1, b"x")
    assert store.dropped == 1
    assert store.total_bytes == 0


@pytest.mark.invariant("S5", "O2")
def test_s5_what_tasks_say_fills_no_small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """S5: all of it has a share of the disk, and none of the reserve that keeps a full disk readable."""
    disk = Space(256 * MIB, 200 * MIB)
    monkeypatch.setattr(space, "measure", lambda _path: disk)
    clock = _Clock()
    store = _store(tmp_path, clock, STDERR_TOTAL_MAX_BYTES)
    for _ in range(4):
        job = _job(clock)
        for task in range(50):
            store.keep(job, task, 1, bytes(STDERR_KEEP_BYTES))
    assert 0 < store.total_bytes <= disk.total_bytes * STDERR_DISK_FRACTION
    assert store.dropped == 0
    disk = Space(256 * MIB, disk.reserve_bytes + 4096)
    store.keep(job, 100, 1, bytes(8192))
    store.keep(job, 101, 1, b"just one block")
    assert (store.read(job, 100).data, store.read(job, 101).data, store.dropped) == (b"", b"just one block", 1)


async def test_a_followed_job_is_told_piece_by_piece(tmp_path: Path) -> None:
    clock = _Clock()
    job, other = _job(clock), _job(clock)
    store = _store(tmp_path, clock)
    store.keep(job, 1, 1, b"before\n")
    store.keep(other, 1, 1, b"another's\n")
    store.watch(job, 2, 1, Said(b"so far, "))
    first = await store.feeds.news(job, OWNER, 0, wait=False)
    assert [(one.task_id, one.data, one.ended) for one in first.pieces] == [
        (1, b"before\n", True), (2, b"so far, ", False)
    ]  # fmt: skip
    store.watch(job, 2, 1, Said(b"so far, so good"))
    store.watch(job, 3, 1, Said(b"quick"))
    store.keep(job, 3, 1, b"quick")
    second = await store.feeds.news(job, OWNER, first.last, wait=True)
    assert sorted((one.task_id, one.data, one.ended) for one in second.pieces) == [
        (2, b"so good", False), (3, b"quick", True)
    ]  # fmt: skip
    store.keep(job, 2, 1, b"so far, so good")
    third = await store.feeds.news(job, OWNER, second.last, wait=False)
    assert [(one.task_id, one.data, one.ended) for one in third.pieces] == [(2, b"", True)]
    store.watch(job, 2, 1, Said(b"again"))
    store.forget(job, 2, 1)
    store.watch(job, 2, 1, Said(b"third"))
    fourth = await store.feeds.news(job, OWNER, third.last, wait=False)
    assert [one.data for one in fourth.pieces] == [b"third"], "an attempt begins anew"
    assert not any(news.missing for news in (second, third, fourth))


@given(st.text(min_size=1), st.data())
async def test_no_letter_is_cut_by_a_piece(text: str, data: st.DataObject) -> None:
    said, clock, pieces = text.encode(), _Clock(), []
    cuts = sorted(data.draw(st.lists(st.integers(0, len(said)))))
    with TemporaryDirectory() as folder:
        store, job = _store(Path(folder), clock), _job(clock)
        last = 0
        for cut in cuts:
            store.watch(job, 1, 1, Said(said[:cut]))
            news = await store.feeds.news(job, OWNER, last, wait=False)
            pieces += [one.data.decode() for one in news.pieces]
            last = news.last
        store.watch(job, 1, 1, Said(said))
        store.keep(job, 1, 1, said)
        pieces += [one.data.decode() for one in (await store.feeds.news(job, OWNER, last, wait=False)).pieces]
    assert "".join(pieces) == text


async def test_half_a_letter_is_told_once_its_task_has_ended(tmp_path: Path) -> None:
    clock = _Clock()
    store, job = _store(tmp_path, clock), _job(clock)
    half = "ü".encode()[:1]
    store.watch(job, 1, 1, Said(b"gr" + half))
    first = await store.feeds.news(job, OWNER, 0, wait=False)
    store.keep(job, 1, 1, b"gr" + half)
    second = await store.feeds.news(job, OWNER, first.last, wait=False)
    assert [(one.data, one.ended) for one in (*first.pieces, *second.pieces)] == [(b"gr", False), (half, True)]


async def test_a_feed_is_bounded_and_says_what_is_missing(tmp_path: Path) -> None:
    clock = _Clock()
    job = _job(clock)
    store = _store(tmp_path, clock, limit=1 << 30)
    store.keep(job, 1, 1, b"1")
    first = await store.feeds.news(job, OWNER, 0, wait=False)
    for task in range(2, 60):
        store.keep(job, task, 1, b"x" * 60_000)
    found: list[int] = []
    news = await store.feeds.news(job, OWNER, first.last, wait=False)
    assert news.missing
    while news.pieces:
        assert sum(len(one.data) for one in news.pieces) <= 256 * 1024
        found += [one.task_id for one in news.pieces]
        news = await store.feeds.news(job, OWNER, news.last, wait=False)
        assert not news.missing
    assert found == list(range(60 - len(found), 60)), "the last ones, each once"
    assert len(found) == FEED_BYTES // 60_000


async def test_what_a_task_says_faster_than_it_is_looked_at_is_missing(tmp_path: Path) -> None:
    clock = _Clock()
    store, job = _store(tmp_path, clock), _job(clock)
    store.watch(job, 1, 1, _Long())
    first = await store.feeds.news(job, OWNER, 0, wait=False)
    assert ([one.data for one in first.pieces], first.missing) == ([b"the end"], False), "of what runs, the tail"
    burst = _Long()
    burst.said += 8
    store.watch(job, 1, 1, burst)
    second = await store.feeds.news(job, OWNER, first.last, wait=False)
    assert ([one.data for one in second.pieces], second.missing) == ([b"the end"], True)
    burst.said += 7
    third = await store.feeds.news(job, OWNER, second.last, wait=False)
    assert ([one.data for one in third.pieces], third.missing) == ([b"the end"], False)


async def test_who_is_back_after_the_longest_that_a_gateway_is_waited_for_is_told_nothing_twice(tmp_path: Path) -> None:
    clock = _Clock()
    store, job = _store(tmp_path, clock), _job(clock)
    store.watch(job, 1, 1, Said(b"one\n"))
    first = await store.feeds.news(job, OWNER, 0, wait=False)
    clock.now_s += AWAY_S + 5
    store.watch(job, 1, 1, Said(b"one\ntwo\n"))
    second = await store.feeds.news(job, OWNER, first.last, wait=False)
    assert ([one.data for one in second.pieces], second.missing) == ([b"two\n"], False)


async def test_an_attempt_that_is_long_in_ending_takes_nothing_of_the_next(tmp_path: Path) -> None:
    """A node that stood still has lost its lease, and may be given the same task again at once."""
    clock = _Clock()
    store, job = _store(tmp_path, clock), _job(clock)
    store.watch(job, 1, 1, Said(b"first\n"))
    first = await store.feeds.news(job, OWNER, 0, wait=False)
    store.watch(job, 1, 2, Said(b"second says more\n"))
    second = await store.feeds.news(job, OWNER, first.last, wait=False)
    assert [one.data for one in second.pieces] == [b"second says more\n"]
    store.forget(job, 1, 1)
    store.keep(job, 1, 1, b"first\n")
    assert store.read(job, 1) == StderrTail(2, 17, b"second says more\n")
    store.keep(job, 1, 2, b"second says more\n")
    third = await store.feeds.news(job, OWNER, second.last, wait=False)
    assert [(one.data, one.ended) for one in third.pieces] == [(b"", True)], "none twice"
    assert store.read(job, 1) == StderrTail(2, 17, b"second says more\n")


async def test_of_a_task_that_begins_to_say_much_while_it_is_followed_something_is_missing(tmp_path: Path) -> None:
    """Of one that was quiet so far, and of one that was not there."""
    clock = _Clock()
    store, job = _store(tmp_path, clock), _job(clock)
    quiet = _Long()
    quiet.said = 0
    store.watch(job, 1, 1, quiet)
    await store.feeds.news(job, OWNER, 0, wait=False)
    quiet.said = 1_000_000
    first = await store.feeds.news(job, OWNER, 0, wait=False)
    assert ([one.task_id for one in first.pieces], first.missing) == ([1], True)
    store.watch(job, 2, 1, _Long())
    store.keep(job, 2, 1, b"the end")
    second = await store.feeds.news(job, OWNER, first.last, wait=False)
    assert ([one.task_id for one in second.pieces], second.missing) == ([2], True)


@pytest.mark.invariant("S3")
async def test_feeds_are_few_of_an_account_and_of_all_and_are_forgotten(tmp_path: Path) -> None:
    clock = _Clock()
    store = _store(tmp_path, clock)
    jobs = iter([_job(clock) for _ in range(2 * FEEDS_MAX)])
    followed = [next(jobs) for _ in range(FEEDS_ACCOUNT_MAX)]
    for job in followed * 2:
        await store.feeds.news(job, OWNER, 0, wait=False)
    with pytest.raises(SlowDown, match="of the account"):
        await store.feeds.news(next(jobs), OWNER, 0, wait=False)
    for number in range(FEEDS_MAX - FEEDS_ACCOUNT_MAX):
        await store.feeds.news(next(jobs), f"account {number}", 0, wait=False)
    with pytest.raises(SlowDown, match=str(FEEDS_MAX)):
        await store.feeds.news(next(jobs), "one more", 0, wait=False)
    clock.now_s += FEED_QUIET_S
    await store.feeds.news(followed[0], OWNER, 0, wait=False)
    for _ in range(FEEDS_ACCOUNT_MAX - 1):
        await store.feeds.news(next(jobs), OWNER, 0, wait=False)
    with pytest.raises(SlowDown, match="of the account"):
        await store.feeds.news(next(jobs), OWNER, 0, wait=False)
    for _ in range(FEEDS_ACCOUNT_MAX):
        await store.feeds.news(next(jobs), "one more", 0, wait=False)
