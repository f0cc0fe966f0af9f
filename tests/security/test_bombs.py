"""Every bomb of tests/security/attacks/bombs.py at once, on stores run by root and by an ordinary user (case 12)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from manta.sdk import Job
from tests.security.attacks.bombs import (
    BOMBS,
    FEW,
    LASTING,
    LASTING_S,
    MEMORY,
    PROCESSES,
    SMALL_DISK,
    TIMEOUT_S,
    Bomb,
)
from tests.support.loop_disk import why_not
from tests.support.siege import GOOD_LINES, Siege, State, besieged_as, ended
from tests.support.surroundings import await_processes, processes_with
from tests.support.waiting import await_condition

pytestmark = pytest.mark.invariant("S5")

_FAST = {"root": BOMBS, "user": FEW}
_SLOW = {"root-oci": BOMBS, "user, all of them": BOMBS, "user-oci": BOMBS}
_KINDS = [*_FAST, *(pytest.param(kind, marks=pytest.mark.slow) for kind in _SLOW)]
_BOMBS = _FAST | _SLOW


@dataclass(frozen=True)
class Barrage:
    """What became of each bomb, and of the good job that ran again and again beside them."""

    siege: Siege
    bombs: tuple[Bomb, ...]
    holds: frozenset[str]
    """What there are limits of for a task as a whole."""
    errors: dict[str, list[dict[str, Any]]]
    good: list[int]
    answered: list[bool]
    outlasted: dict[str, str]
    """The states of the lasting bombs' jobs once the first good job had ended."""
    state: State


@pytest.fixture(scope="module", params=_KINDS)
def barrage(request: pytest.FixtureRequest) -> Iterator[Barrage]:
    with besieged_as(request.param.partition(",")[0], "--lanes", "8", on_small_disk=True) as siege:
        yield _barrage(siege, _BOMBS[request.param])


def _barrage(siege: Siege, bombs: tuple[Bomb, ...]) -> Barrage:
    good, answered = [], []
    lasting = {bomb.name: _exploded(siege, bomb, LASTING_S) for bomb in LASTING}
    for name in lasting:
        await_processes(_mark(siege, name))
    good.append(siege.good_lines())
    answered.append(siege.answers())
    outlasted = {name: job.status().state for name, job in lasting.items()}
    for job in lasting.values():
        job.cancel()
    await_condition(lambda: not _left_behind(siege), "the end of the lasting bombs")
    jobs = {bomb.name: _exploded(siege, bomb, TIMEOUT_S) for bomb in bombs}
    while any(job.status().state != "done" for job in jobs.values()):
        good.append(siege.good_lines())
        answered.append(siege.answers())
    errors = {name: list(ended(job).errors()) for name, job in jobs.items()}
    return Barrage(siege, bombs, _holds(siege), errors, good, answered, outlasted, siege.state())


def _exploded(siege: Siege, bomb: Bomb, timeout_s: int) -> Job:
    name, _, value = _mark(siege, bomb.name).partition("=")
    phase = {
        "type": "map",
        "exec": bomb.command,
        "timeout": timeout_s,
        "memory": "192M",
        "disk": "16M",
        "env": {name: value},
    }
    return siege.eve.submit([phase], inputs=["s3://eve/in"])


def _mark(siege: Siege, name: str) -> str:
    """What stands in the environment of that bomb's processes, and of no other siege's."""
    return f"BOMB_{siege.token}={name}"


def _left_behind(siege: Siege) -> list[str]:
    """Bombs of which a process lives."""
    return [bomb.name for bomb in (*BOMBS, *LASTING) if processes_with(_mark(siege, bomb.name))]


def _holds(siege: Siege) -> frozenset[str]:
    (node,) = siege.root.api("GET", "/nodes")["nodes"]
    limits = node["status"]["agent"]["sandbox"]["limits"]
    grouped = {name for name in (MEMORY, PROCESSES) if limits[name].startswith("cgroup")}
    return frozenset(grouped if why_not() else grouped | {SMALL_DISK})


def test_s5_each_bomb_ends_and_its_error_names_why(barrage: Barrage) -> None:
    assert barrage.errors.keys() == {bomb.name for bomb in barrage.bombs}
    for bomb in barrage.bombs:
        (error,) = barrage.errors[bomb.name]
        assert error["code"] == "UserTaskError", (bomb.name, error)
        assert bomb.is_named(error["message"], barrage.holds), (bomb.name, error)


def test_s5_a_good_task_ends_beside_them_all(barrage: Barrage) -> None:
    assert len(barrage.good) > 1
    assert set(barrage.good) == {GOOD_LINES}
    assert all(barrage.answered)


def test_s5_a_good_task_ends_before_the_bombs_beside_it(barrage: Barrage) -> None:
    """Those have 100 s, and were there before it."""
    assert barrage.outlasted == {bomb.name: "running" for bomb in LASTING}


@pytest.mark.invariant("S4")
def test_s4_nothing_of_them_is_left(barrage: Barrage) -> None:
    assert _left_behind(barrage.siege) == []
    assert barrage.state == barrage.siege.before
