"""Every attack of tests/security/attacks, from inside tasks of stores of each kind: who runs them, which driver.

A family is one task, each attack in a process of its own; the store is looked at after each family.
"""

import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.security.attacks import FAMILIES, Attack
from tests.security.attacks.on_outputs import TRICKS
from tests.support.siege import GOOD_LINES, LEFT, OBJECT, TIMES, Raid, Siege, besieged_as, run_here
from tests.support.surroundings import numbers

pytestmark = pytest.mark.invariant("S4")

_ALL = [
    pytest.param(family, attack, id=f"{family}: {attack.name}")
    for family, table in FAMILIES.items()
    for attack in table
]


_OPTIONS = {"user": ("--tcp-nodes",)}
"""So the node has a port on one of them, and sockets on the others."""


@pytest.fixture(scope="module", params=["root", "user", "root-oci", pytest.param("user-oci", marks=pytest.mark.slow)])
def siege(request: pytest.FixtureRequest) -> Iterator[Siege]:
    with besieged_as(request.param, "--lanes", "4", *_OPTIONS.get(request.param, ())) as siege:
        assert bool(siege.facts["node_port"]) == (request.param in _OPTIONS)
        yield siege


@pytest.mark.parametrize(("family", "attack"), _ALL)
def test_s4_an_attack_is_held(siege: Siege, family: str, attack: Attack) -> None:
    raid = siege.raid(family)
    assert raid.errors == []
    assert attack.is_held(raid.outcomes[attack.name]), raid.outcomes[attack.name]


def test_s4_outputs_play_no_tricks(siege: Siege) -> None:
    """Whatever stands behind stdout, stdin or a name: what a program reads is the task's, and a key is only a key."""
    script = "\n".join([*(command for command, _, _ in TRICKS), 'until mget "$GO" > out 2>&1; do sleep 0.05; done'])
    raid = siege.attack({"type": "map", "exec": script, "timeout": 100, "env": siege.environment})
    assert sorted(raid.named) == sorted(key for _, key, _ in TRICKS if key is not None)
    for _, key, content in TRICKS:
        if key is not None:
            assert content in raid.named[key]
            assert b"manta-siege" not in raid.named[key]
            assert not any((folder / key.lstrip("/")).exists() for folder in _around(siege) if "planted" in key)
    assert not list(siege.folder.rglob("*planted*"))
    _assert_nothing_is_changed(siege, raid)


def _around(siege: Siege) -> list[Path]:
    """Every folder that a key could be taken to lie below, in or above the store's."""
    return [*siege.folder.rglob("nodes/*"), siege.running.data, *siege.running.data.parents]


_VERBS = (
    *("open to write", "open to truncate", "truncate", "chmod", "chown", "set the times", "set an attribute"),
    "remove an attribute",
)
_WITHOUT = {
    "input": (
        *(f"{verb} by {place}" for place in ("its name", "/proc/self/fd/0", "/dev/stdin") for verb in _VERBS),
        *("fchmod", "take a lease that blocks the store", "unlink by its name"),
    ),
    "kernel": ("memfd_create", "unlock its secure bits"),
    "network": ("a netlink socket", "connect to a service on the host's loopback", "the node's port"),
}


@pytest.mark.skipif(os.geteuid() != 0, reason="most of them need what only root may")
@pytest.mark.parametrize("family", _WITHOUT)
def test_the_harness_tells_when_an_attack_goes_through(family: str, tmp_path: Path) -> None:
    """Harmless ones, run without a sandbox on a file that is the attacker's own."""
    chosen = [attack for attack in FAMILIES[family] if attack.name in _WITHOUT[family]]
    file = tmp_path / "input"
    file.write_bytes(OBJECT)
    with socket.create_server(("127.0.0.1", 0)) as listener, file.open("rb") as stdin:
        port = listener.getsockname()[1]
        facts: dict[str, object] = {"numbers": numbers(), "listener": port, "node_port": port}
        outcomes = run_here(chosen, file, stdin, facts)
    assert outcomes == dict.fromkeys(_WITHOUT[family], "went through")


@pytest.mark.parametrize("family", FAMILIES)
def test_s4_nothing_is_changed_and_nobody_held_up(siege: Siege, family: str) -> None:
    _assert_nothing_is_changed(siege, siege.raid(family))


def _assert_nothing_is_changed(siege: Siege, raid: Raid) -> None:
    """All is as before the first raid, the store answers, and the task beside ended well while the raid went on."""
    assert raid.errors == []
    assert raid.object_sha256 == hashlib.sha256(OBJECT).hexdigest()
    assert raid.state == siege.before
    assert raid.visitors == 0
    assert raid.good_lines == GOOD_LINES
    assert raid.answers


@pytest.mark.parametrize("family", FAMILIES)
def test_a_task_did_leave_something_for_the_next(siege: Siege, family: str) -> None:
    assert siege.raid(family).outcomes["left behind"] == {LEFT}


def test_tasks_follow_one_another_in_a_zone(siege: Siege) -> None:
    """So that they could find what one before them left there; the network namespace is the zone's."""
    zones = siege.raid("neighbours").outcomes["zone"]
    assert 0 < len(zones) < TIMES["neighbours"]
