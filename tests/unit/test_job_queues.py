"""A task that waits on its node for a lane is not told as running."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from jobs.model.document import parse_document
from jobs.model.wire import TaskKind
from jobs.scheduler.queues import Queues
from manta.catalog.job_records import JobView, PhaseView

_PLAN = parse_document(b'{"phases": [{"type": "map", "exec": "wc"}], "inputs": []}').plan


def _view(ready: int, running: int) -> JobView:
    tasks = {"waiting": 0, "ready": ready, "running": running, "committed": 5, "failed": 0, "cancelled": 0}
    phases = (PhaseView(TaskKind.MAP, "wc", tasks, True),)
    return JobView("j", "alice", "", "running", 1, None, True, None, _PLAN, phases, 9, 0, 0, 0, 0, 0, 0, 0.0, 0)


@given(st.integers(0, 99), st.integers(0, 99), st.lists(st.integers(-3, 99), max_size=4))
def test_what_waits_on_nodes_is_ready(ready: int, running: int, queued: Sequence[int]) -> None:
    queues = Queues()
    for number, count in enumerate(queued):
        queues.note(f"n{number}", [("j", 0, count), ("other", 0, 50), ("j", 1, 50)])
    view = _view(ready, running)
    shown = queues.as_started(view).phases[0].tasks
    waiting = sum(max(0, count) for count in queued)
    assert shown["running"] == max(0, running - waiting)
    assert shown["ready"] + shown["running"] == ready + running
    assert shown["committed"] == 5
    for number in range(len(queued)):
        queues.forget(f"n{number}")
    assert queues.as_started(view) is view
