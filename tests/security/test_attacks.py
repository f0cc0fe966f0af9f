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
from tests.support.siege import GOOD_LINES, OBJECT, Siege, besieged_as, ended, numbers, run_here, settings

pytestmark = pytest.mark.invariant("S4")

_ALL = [
    pytest.param(family, attack, id=f"{family}: {attack.name}")
    for family, table in FAMILIES.items()
    for attack in table
]


@pytest.fixture(scope="module", params=["root", "user", "root-oci", pytest.param("user-oci", marks=pytest.mark.slow)])
def siege(request: pytest.FixtureRequest) -> Iterator[Siege]:
    with besieged_as(request.param, "--lanes", "4") as siege:
        yield siege


@pytest.mark.parametrize(("family", "attack"), _ALL)
def test_s4_an_attack_is_held(siege: Siege, family: str, attack: Attack) -> None:
    raid = siege.raid(family)
    assert raid.errors == []
    assert attack.is_held(raid.outcomes[attack.name]), raid.outcomes[attack.name]


def test_s4_outputs_play_no_tricks(siege: Siege) -> None:
    """Whatever stands behind stdout, stdin or a name: what a program reads is the task's, and a key is only a key."""
    script = "\n".join(command for command, _, _ in TRICKS)
    job = siege.eve.submit(
        [{"type": "map", "exec": f"{script}\ntrue", "env": siege.environment}], inputs=["s3://eve/in"]
    )
    before = [entry.key for entry in siege.alice.objects("s3://alice/")]
    named = sorted(str(line["key"]) for line in ended(job).outputs() if line["bucket"] == "eve")
    assert list(job.errors()) == []
    assert named == sorted(key for _, key, _ in TRICKS if key is not None)
    for _, key, content in TRICKS:
        if key is not None:
            assert content in siege.eve.read(f"s3://eve/{key}")
            assert b"manta-siege" not in siege.eve.read(f"s3://eve/{key}")
    assert [entry.key for entry in siege.alice.objects("s3://alice/")] == before
    assert not list(siege.running.data.rglob("*planted*"))


_WITHOUT = {
    "input": (
        *(
            "open to write by its name",
            "open to write by /proc/self/fd/0",
            "truncate",
            "chmod",
            "fchmod",
            "set its times",
        ),
        *("set a user attribute by name", "take a lease that blocks the store", "unlink"),
    ),
    "kernel": ("memfd_create", "unlock its secure bits"),
    "network": ("a netlink socket", "connect to a service on the host's loopback"),
}


@pytest.mark.skipif(os.geteuid() != 0, reason="most of them need what only root may")
@pytest.mark.parametrize("family", _WITHOUT)
def test_the_harness_tells_when_an_attack_goes_through(family: str, tmp_path: Path) -> None:
    """Harmless ones, run without a sandbox on a file that is the attacker's own."""
    chosen = [attack for attack in FAMILIES[family] if attack.name in _WITHOUT[family]]
    file = tmp_path / "input"
    file.write_bytes(OBJECT)
    with socket.create_server(("127.0.0.1", 0)) as listener, file.open("rb") as stdin:
        facts = {"numbers": numbers(), "listener": listener.getsockname()[1]}
        outcomes = run_here(chosen, file, stdin, facts)
    assert outcomes == dict.fromkeys(_WITHOUT[family], "went through")


@pytest.mark.parametrize("family", FAMILIES)
def test_s4_nothing_is_changed_and_nobody_held_up(siege: Siege, family: str) -> None:
    """The object and its file are what they were, the store answers, the task beside ended with the right answer."""
    file, host = siege.file(), settings()
    raid = siege.raid(family)
    assert raid.object_sha256 == hashlib.sha256(OBJECT).hexdigest()
    assert raid.file == file
    assert (raid.visitors, raid.settings) == (0, host)
    assert raid.good_lines == GOOD_LINES
    assert raid.answers
