"""A store under attack from inside its tasks: an attacker, victims beside it, and a good task that has to end well."""

import contextlib
import hashlib
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import pytest

from jobs.sandbox.building.builders import builder_choice
from manta.core.limits import MIB
from manta.sdk import Job, ObjectInfo, Store
from tests.security.attacks import FAMILIES, Attack
from tests.security.attacks import harness as _harness
from tests.support.loop_disk import loop_disk, why_not
from tests.support.ordinary_user import user_of
from tests.support.store import RunningStore, running_store
from tests.support.surroundings import (
    VICTIM,
    await_processes,
    files_of,
    host_services,
    looks_of,
    numbers,
    own_doors,
    settings,
    states_of,
    visited,
)

OBJECT: Final = b"the object under attack\nits second line\n" * 100
GOOD: Final = {f"part-{number}": b"good line\n" * (number + 1) for number in range(6)}
GOOD_LINES: Final = sum(data.count(b"\n") for data in GOOD.values())
_WAIT_S: Final = 100.0
_DISK_BYTES: Final = 256 * MIB
TIMES: Final = {"neighbours": 6} | dict.fromkeys(FAMILIES.keys() - {"neighbours"}, 1)
"""More tasks than there are zones for them, so that most find what one before them left in theirs."""
LEFT: Final = "a file, a message queue, a socket that listens"
_LEAVER: Final = """
left = []
with open("/scratch/left", "w") as file:
    file.write("left")
    left.append("a file")
if ctypes.CDLL(None).mq_open(b"/left", 0o102, 0o666, (ctypes.c_long * 8)(0, 4, 64)) >= 0:
    left.append("a message queue")
ours, theirs = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("\\0" + os.environ["LEFT"])
        listener.listen()
        os.write(theirs, b"a socket that listens")
        time.sleep(3600)
    os._exit(0)
os.wait()
os.close(theirs)
left.append(os.read(ours, 100).decode())
print(json.dumps(["left behind", ", ".join(left)]))
print(json.dumps(["zone", os.readlink("/proc/self/ns/net")]), flush=True)
"""
PYTHON: Final = 'exec python3 -I -S -c "$SOURCE"'


@dataclass(frozen=True)
class State:
    """All that an attack may not change. Taken before the first of them, and after each family."""

    file: tuple[object, ...]
    """What is known of the attacked object's own file on its node."""
    settings: tuple[str, ...]
    """Kernel settings of the host that tasks try to set."""
    processes: tuple[tuple[object, ...], ...]
    """The victims', the supervisor's, the gateway's and the node's."""
    of_alice: tuple[ObjectInfo, ...]
    secret: bytes


@dataclass(frozen=True)
class Raid:
    """How each attack of a family ended, and what there is to see outside afterwards."""

    outcomes: dict[str, set[str]]
    errors: list[dict[str, Any]]
    named: dict[str, bytes]
    """Its outputs in the bucket eve."""
    object_sha256: str
    good_lines: int
    answers: bool
    visitors: int
    """Connections and datagrams that reached the host's own sockets."""
    state: State


@dataclass
class Siege:
    """`eve` attacks; `alice` is another account with a secret object, a secret output and a victim of a task."""

    running: RunningStore
    folder: Path
    token: str
    """In the names of all that its tasks have, so that another siege's are not taken for its own."""
    root: Store
    eve: Store
    alice: Store
    facts: dict[str, Any]
    environment: dict[str, str]
    host_sockets: list[socket.socket]
    blob: Path
    before: State = field(init=False)
    raids: dict[str, Raid | Exception] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.before = self.state()

    def raid(self, family: str) -> Raid:
        """The whole family in one task, once; a good job runs beside it."""
        if family not in self.raids:
            try:
                self.raids[family] = self._raid(family)
            except Exception as error:  # not again for each attack
                self.raids[family] = error
        raid = self.raids[family]
        if isinstance(raid, Exception):
            raise raid
        return raid

    def _raid(self, family: str) -> Raid:
        table = json.dumps([(attack.name, attack.code) for attack in FAMILIES[family]])
        assert len({attack.name for attack in FAMILIES[family]}) == len(FAMILIES[family]), "two have one name"
        return self.attack(python(HARNESS, ATTACKS=table, **self.environment), TIMES[family])

    def attack(self, phase: dict[str, Any], times: int = 1) -> Raid:
        """That many tasks of the phase, each of which goes on until there is an object by the name in `GO`.

        The good job begins after the first of them, and the object is made once that job has ended.
        """
        go = f"eve/go-{secrets.token_hex(8)}"
        phase = {**phase, "env": {**phase["env"], "GO": go}}
        job = self.eve.submit([phase], inputs=["s3://eve/in"] * times)
        await_processes(f"GO={go}")
        lines, answers = self.good_lines(), self.answers()
        assert job.status().state == "running", "the attack was over before the good job was"
        self.eve.write(f"s3://{go}", b"go")
        ended(job)
        made = list(job.outputs())
        named = {str(line["key"]): line for line in made if line["bucket"] == "eve"}
        outcomes = _outcomes(b"".join(_read(self.eve, line) for line in made if line["bucket"] != "eve"))
        return Raid(
            outcomes,
            list(job.errors()),
            {key: _read(self.eve, line) for key, line in named.items()},
            hashlib.sha256(self.eve.read("s3://eve/in")).hexdigest(),
            lines,
            answers and self.answers(),
            sum(map(visited, self.host_sockets)),
            self.state(),
        )

    def good_lines(self) -> int:
        """What a good job of six tasks and a reducer counts."""
        good = self.alice.submit(
            [{"type": "map", "exec": "wc -l"}, {"type": "reduce", "exec": "awk '{s+=$1} END {print s}'"}],
            inputs=["s3://good/"],
        )
        return int(b"".join(outputs(self.alice, ended(good))))

    def answers(self) -> bool:
        """Whether the store takes and gives an object."""
        name = secrets.token_hex(8)
        self.alice.write(f"s3://good-answers/{name}", name.encode())
        return self.alice.read(f"s3://good-answers/{name}") == name.encode()

    def state(self) -> State:
        return State(
            looks_of(self.blob),
            settings(),
            states_of(self.facts["pids"]),
            tuple(self.alice.objects("s3://alice/")),
            self.alice.read("s3://alice/secret"),
        )


def python(source: str, **environment: str) -> dict[str, Any]:
    """A map phase that runs that Python; the source is in its environment, as it has no file."""
    return {"type": "map", "exec": PYTHON, "timeout": 100, "env": {"SOURCE": source, **environment}}


def run_here(attacks: Sequence[Attack], file: Path, stdin: IO[bytes], facts: dict[str, object]) -> dict[str, str]:
    """How they end without any sandbox."""
    environment = {
        "ATTACKS": json.dumps([(attack.name, attack.code) for attack in attacks]),
        "FACTS": json.dumps(facts),
        "MANTA_INPUT_FILE": str(file),
    }
    command = [sys.executable, "-I", "-S", "-c", HARNESS]
    done = subprocess.run(command, env=environment, stdin=stdin, capture_output=True, check=True)
    return dict(map(json.loads, done.stdout.splitlines()))


def ended(job: Job) -> Job:
    assert job.wait(timeout_s=_WAIT_S).state == "done"
    return job


def outputs(store: Store, job: Job) -> list[bytes]:
    return [_read(store, line) for line in job.outputs()]


def _read(store: Store, line: dict[str, Any]) -> bytes:
    return store.read(f"s3://{line['bucket']}/{line['key']}")


def _outcomes(said: bytes) -> dict[str, set[str]]:
    outcomes: dict[str, set[str]] = {}
    for line in said.decode(errors="replace").splitlines():
        with contextlib.suppress(ValueError):
            name, outcome = json.loads(line)
            outcomes.setdefault(name, set()).add(outcome)
    return outcomes


HARNESS: Final = Path(_harness.__file__).read_text()


@contextmanager
def besieged(user: int | None, *options: str, on_small_disk: bool = False) -> Iterator[Siege]:
    """As root or as an ordinary user, with victims that run all the while."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="manta-siege-")))
        folder.chmod(0o755)
        data = _small_disk(stack, folder, user) / "data" if on_small_disk else None
        running = stack.enter_context(running_store(folder / "s", *options, user=user, data=data))
        root = stack.enter_context(running.client())
        eve, alice = (stack.enter_context(running.new_account(name)) for name in ("eve", "alice"))
        for store, bucket in ((eve, "eve"), (alice, "alice"), (alice, "good"), (alice, "good-answers")):
            store.make_bucket(bucket)
        eve.write("s3://eve/in", OBJECT)
        alice.write("s3://alice/secret", b"of alice")
        for key, good in GOOD.items():
            alice.write(f"s3://good/{key}", good)
        token, secret = secrets.token_hex(8), secrets.token_hex(16)
        name = f"manta-siege-{token}"
        of_secret = ended(alice.submit([{"type": "map", "exec": "cat"}], inputs=["s3://alice/secret"]))
        output = next(iter(of_secret.outputs()))
        victims = [
            store.submit([_victim(name, whose, secret)], inputs=[object_name])
            for store, whose, object_name in ((alice, "other", "s3://alice/secret"), (eve, "own", "s3://eve/in"))
        ]
        for victim in victims:
            stack.callback(victim.cancel)
        sockets, services = host_services(stack, folder, name)
        pids = [pid for whose in ("other", "own") for pid in await_processes(f"SOCKET={name}-{whose}", 2)]
        facts: dict[str, Any] = {
            "numbers": numbers(),
            "data": str(running.data),
            "key": running.secret_key[::-1],
            "secret": secret,
            "pids": [*pids, running.process.pid, *running.children().values()],
            "socket": name,
            "left": name + "-left",
            "job": output["bucket"],
            "output": f"{output['bucket']}/{output['key']}",
            "port": int(running.url.rpartition(":")[2]),
            **services,
            **own_doors(running),
        }
        environment = {"FACTS": json.dumps(facts), "LEFT": name + "-left", "AFTERWARDS": _LEAVER}
        yield Siege(
            running, folder, token, root, eve, alice, facts, environment, sockets, files_of(running, OBJECT, 1)[0]
        )


def _victim(name: str, whose: str, secret: str) -> dict[str, object]:
    """Its secret stands backwards in the environment, so that no attacker meets his own copy of it."""
    return {**python(VICTIM, SOCKET=f"{name}-{whose}", SECRET=secret[::-1]), "timeout": 900}


def _small_disk(stack: ExitStack, folder: Path, user: int | None) -> Path:
    disk = stack.enter_context(loop_disk(folder, _DISK_BYTES))
    if user is not None:
        os.chown(disk.folder, user, user)
    return disk.folder


def besieged_as(kind: str, *options: str, on_small_disk: bool = False) -> contextlib.AbstractContextManager[Siege]:
    """A store of that kind: run by `root` or `user`, its zones built by bubblewrap or, with `-oci`, by runc.

    On a disk of its own, if there can be one, where `on_small_disk`. Skips what cannot be here.
    """
    who, _, builder = kind.partition("-")
    if builder:
        if builder_choice(builder).find() is None:
            pytest.skip("there is no runc on this machine")
        options = (*options, "--sandbox", builder)
    return besieged(user_of(who), *options, on_small_disk=on_small_disk and not why_not())
