"""Every bomb of tests/security/attacks/bombs.py at once, on stores run by root and by an ordinary user (case 12)."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from manta.sdk import Job
from tests.security.attacks.bombs import BOMBS, TIMEOUT_S, Bomb
from tests.support.siege import GOOD_LINES, Siege, besieged_as, ended
from tests.support.traces import marked

pytestmark = pytest.mark.invariant("S5")

_MARK = secrets.token_hex(8)
_SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("user", "root-oci", "user-oci")]


@dataclass(frozen=True)
class Barrage:
    """What became of each bomb, and of the good job that ran again and again beside them."""

    errors: dict[str, list[dict[str, Any]]]
    good: list[int]
    answered: list[bool]
    file: tuple[object, ...]
    left: list[int]
    """Processes of bombs that live."""


@pytest.fixture(
    scope="module",
    params=["root", *_SLOW],
)
def siege(request: pytest.FixtureRequest) -> Iterator[Siege]:
    with besieged_as(request.param, "--lanes", "8") as siege:
        yield siege


@pytest.fixture(scope="module")
def barrage(siege: Siege) -> Barrage:
    jobs = {bomb.name: _exploded(siege, bomb) for bomb in BOMBS}
    good, answered = [], []
    while any(job.status().state not in ("done", "cancelled") for job in jobs.values()):
        good.append(siege.good_lines())
        answered.append(siege.answers())
    errors = {name: list(ended(job).errors()) for name, job in jobs.items()}
    return Barrage(errors, good, answered, siege.file(), marked(_MARK))


def _exploded(siege: Siege, bomb: Bomb) -> Job:
    phase = {
        "type": "map",
        "exec": bomb.command,
        "timeout": TIMEOUT_S,
        "memory": "192M",
        "disk": "16M",
        "env": {"BOMB": f"{_MARK} {bomb.name}"},
    }
    return siege.eve.submit([phase], inputs=["s3://eve/in"])


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb.name)
def test_s5_a_bomb_ends_and_its_error_names_why(barrage: Barrage, bomb: Bomb) -> None:
    (error,) = barrage.errors[bomb.name]
    assert error["code"] == "UserTaskError", error
    assert bomb.is_named(error["message"]), error


def test_s5_a_good_task_ends_beside_them_all(siege: Siege, barrage: Barrage) -> None:
    assert barrage.good
    assert set(barrage.good) == {GOOD_LINES}
    assert all(barrage.answered)


@pytest.mark.invariant("S4")
def test_s4_nothing_of_them_is_left(siege: Siege, barrage: Barrage) -> None:
    assert barrage.left == []
    assert barrage.file == siege.file()
