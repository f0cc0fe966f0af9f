"""A store under attack from inside its tasks: an attacker, victims beside it, and a good task that has to end well."""

import contextlib
import hashlib
import json
import os
import platform
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import pytest

from jobs.sandbox.building.builders import builder_choice
from jobs.sandbox.filters.syscall_numbers import MACHINES
from manta.sdk import Job, Store
from tests.security.attacks import FAMILIES, Attack
from tests.security.attacks import harness as _harness
from tests.security.attacks.on_host import OWN_SETTINGS
from tests.support.store import RunningStore, running_store

ORDINARY_UID: Final = 65533
OBJECT: Final = b"the object under attack\nits second line\n" * 100
_GOOD: Final = {f"part-{number}": b"good line\n" * (number + 1) for number in range(6)}
GOOD_LINES: Final = sum(data.count(b"\n") for data in _GOOD.values())
_WAIT_S: Final = 100.0
_ABSENT_NUMBERS: Final = {
    "x86_64": {
        "clone3": 435, "memfd_create": 319, "memfd_secret": 447, "landlock_create_ruleset": 444, "shmat": 30,
        "shmget": 29, "msgget": 68, "semget": 64, "io_setup": 206, "vmsplice": 278, "modify_ldt": 154,
        "remap_file_pages": 216,
    },
    "aarch64": {
        "clone3": 435, "memfd_create": 279, "memfd_secret": 447, "landlock_create_ruleset": 444, "shmat": 196,
        "shmget": 194, "msgget": 186, "semget": 190, "io_setup": 0, "vmsplice": 75, "remap_file_pages": 234,
    },
}  # fmt: skip
"""Calls that the filters do not know."""
_VICTIM: Final = """
import os, socket, time
name = os.environ["SOCKET"]
listener = socket.socket(socket.AF_UNIX)
listener.bind("\\0" + name)
listener.listen()
open("/scratch/secret", "w").write(os.environ["SECRET"])
by_path = socket.socket(socket.AF_UNIX)
by_path.bind("/scratch/socket")
if os.fork() == 0:
    os.setsid()
print("up", file=open("/dev/stderr", "w"), flush=True)
time.sleep(3600)
"""
_TIMES: Final = {"neighbours": 6} | dict.fromkeys(FAMILIES.keys() - {"neighbours"}, 1)
"""More tasks than there are zones for them, so that most find what one before them left in theirs."""
_LEAVER: Final = """
open("/scratch/left", "w").write("left")
ctypes.CDLL(None).mq_open(b"/left", 0o102, 0o666, (ctypes.c_long * 8)(0, 4, 64))
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("\\0" + os.environ["LEFT"])
        listener.listen()
        time.sleep(3600)
    os._exit(0)
os.wait()
"""
PYTHON: Final = 'exec python3 -I -S -c "$SOURCE"'


@dataclass(frozen=True)
class Raid:
    """How each attack of a family ended, and what there is to see outside afterwards."""

    outcomes: dict[str, set[str]]
    errors: list[dict[str, Any]]
    object_sha256: str
    file: tuple[object, ...]
    good_lines: int
    answers: bool
    visitors: int
    """Connections and datagrams that reached the host's own sockets."""
    settings: tuple[str, ...]
    """Kernel settings of the host that tasks try to set."""


@dataclass
class Siege:
    """`eve` attacks; `alice` is another account with a secret object, a secret output and a victim of a task."""

    running: RunningStore
    root: Store
    eve: Store
    alice: Store
    facts: dict[str, object]
    environment: dict[str, str]
    host_sockets: list[socket.socket]
    raids: dict[str, Raid] = field(default_factory=dict)

    def raid(self, family: str) -> Raid:
        """The whole family in one task, once; a good job runs beside it."""
        if family not in self.raids:
            table = json.dumps([(attack.name, attack.code) for attack in FAMILIES[family]])
            assert len({attack.name for attack in FAMILIES[family]}) == len(FAMILIES[family]), "two have one name"
            self.raids[family] = self.attack([python(HARNESS, ATTACKS=table, **self.environment)], _TIMES[family])
        return self.raids[family]

    def attack(self, phases: list[dict[str, object]], times: int) -> Raid:
        job = self.eve.submit(phases, inputs=["s3://eve/in"] * times)
        lines = self.good_lines()
        said = b"".join(outputs(self.eve, ended(job)))
        outcomes: dict[str, set[str]] = {}
        for line in said.decode(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                name, outcome = json.loads(line)
                outcomes.setdefault(name, set()).add(outcome)
        return Raid(
            outcomes,
            list(job.errors()),
            hashlib.sha256(self.eve.read("s3://eve/in")).hexdigest(),
            self.file(),
            lines,
            self.answers(),
            sum(map(_visited, self.host_sockets)),
            settings(),
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

    def file(self) -> tuple[object, ...]:
        """What is known of the object's own file on its node."""
        state = self.blob.stat()
        attributes = tuple((name, os.getxattr(self.blob, name)) for name in os.listxattr(self.blob))
        content = hashlib.sha256(self.blob.read_bytes()).hexdigest()
        return state.st_mode, state.st_uid, state.st_nlink, state.st_size, state.st_mtime_ns, attributes, content

    @property
    def blob(self) -> Path:
        for path in self.running.data.rglob("blobs/*/*/*"):
            with contextlib.suppress(OSError):  # others come and go meanwhile
                if path.stat().st_size == len(OBJECT) and path.read_bytes() == OBJECT:
                    return path
        raise AssertionError("the object under attack has no file")


def python(source: str, **environment: str) -> dict[str, object]:
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
    return [store.read(f"s3://{line['bucket']}/{line['key']}") for line in job.outputs()]


def numbers() -> dict[str, int]:
    machine = platform.machine()
    return {**MACHINES[machine].numbers, **_ABSENT_NUMBERS.get(machine, {})}


HARNESS: Final = Path(_harness.__file__).read_text()


@contextmanager
def besieged(user: int | None, *options: str) -> Iterator[Siege]:
    """As root or as an ordinary user, with victims that run all the while."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="manta-siege-")))
        folder.chmod(0o755)
        running = stack.enter_context(running_store(folder / "s", *options, user=user))
        root = stack.enter_context(running.client())
        eve, alice = (stack.enter_context(running.new_account(name)) for name in ("eve", "alice"))
        for store, bucket in ((eve, "eve"), (alice, "alice"), (alice, "good"), (alice, "good-answers")):
            store.make_bucket(bucket)
        eve.write("s3://eve/in", OBJECT)
        alice.write("s3://alice/secret", b"of alice")
        for key, data in _GOOD.items():
            alice.write(f"s3://good/{key}", data)
        name, secret = f"manta-siege-{secrets.token_hex(8)}", secrets.token_hex(16)
        output = next(
            iter(ended(alice.submit([{"type": "map", "exec": "cat"}], inputs=["s3://alice/secret"])).outputs())
        )
        victims = [
            store.submit([_victim(name + whose, secret)], inputs=[object_name])
            for store, whose, object_name in ((alice, "-other", "s3://alice/secret"), (eve, "-own", "s3://eve/in"))
        ]
        for victim in victims:
            stack.callback(victim.cancel)
        sockets, services = _host_services(stack, folder, name)
        facts: dict[str, object] = {
            "numbers": numbers(),
            "data": str(running.data),
            "key": running.secret_key[::-1],
            "secret": secret,
            "pids": [*_await_victims(name), running.process.pid, *running.children().values()],
            "socket": name,
            "left": name + "-left",
            "job": output["bucket"],
            "output": f"{output['bucket']}/{output['key']}",
            "port": int(running.url.rpartition(":")[2]),
            **services,
            **_own_sockets(running),
        }
        environment = {"FACTS": json.dumps(facts), "LEFT": name + "-left", "AFTERWARDS": _LEAVER}
        yield Siege(running, root, eve, alice, facts, environment, sockets)


def _victim(name: str, secret: str) -> dict[str, object]:
    """Its secret stands backwards in the environment, so that no attacker meets his own copy of it."""
    return {**python(_VICTIM, SOCKET=name, SECRET=secret[::-1]), "timeout": 900}


def _await_victims(name: str) -> list[int]:
    """The host's numbers of their processes, once both have their sockets."""
    deadline = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline:
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"SOCKET={name}".encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
        if len(found) >= 4:
            return found
        time.sleep(0.05)
    raise AssertionError("the victims did not start")


def settings() -> tuple[str, ...]:
    return tuple((Path("/proc/sys") / name).read_text() for name in OWN_SETTINGS)


def _visited(listener: socket.socket) -> int:
    try:
        if listener.type == socket.SOCK_DGRAM:
            listener.recv(100)
        else:
            listener.accept()[0].close()
    except BlockingIOError:
        return 0
    return 1


def _host_services(stack: ExitStack, folder: Path, name: str) -> tuple[list[socket.socket], dict[str, object]]:
    """What a task may want to reach on the host: TCP and UDP, a socket by an abstract name and one by its path."""
    tcp = stack.enter_context(socket.create_server(("0.0.0.0", 0)))
    abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
    abstract.bind(f"\0{name}-host")
    abstract.listen()
    path = str(folder / "host.sock")
    by_path = stack.enter_context(socket.socket(socket.AF_UNIX))
    by_path.bind(path)
    by_path.listen()
    Path(path).chmod(0o666)
    udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    udp.bind(("0.0.0.0", 0))
    sockets = [tcp, abstract, by_path, udp]
    for one in sockets:
        one.setblocking(False)
    address = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=False).stdout.split()
    return sockets, {
        "udp": udp.getsockname()[1],
        "listener": tcp.getsockname()[1],
        "abstract": f"{name}-host",
        "path": path,
        "address": address[0] if address else "127.0.0.1",
    }


def _own_sockets(running: RunningStore) -> dict[str, str]:
    """The Unix sockets of gateway and node."""
    config = json.loads(next((running.data / "config").glob("node-*.json")).read_text())
    return {
        "node": config["listen"].removeprefix("unix:"),
        "gateway": config["gateways"][0].removeprefix("unix:"),
    }


def besieged_as(kind: str, *options: str) -> contextlib.AbstractContextManager[Siege]:
    """A store of that kind: run by `root` or `user`, its zones built by bubblewrap or, with `-oci`, by runc.

    Skips what cannot be here.
    """
    who, _, builder = kind.partition("-")
    if builder:
        if builder_choice(builder).find() is None:
            pytest.skip("there is no runc on this machine")
        options = (*options, "--sandbox", builder)
    if os.geteuid() != 0:
        if who == "root":
            pytest.skip("only root can run a store as root")
        return besieged(None, *options)
    if who == "user" and not can_be_read_by(ORDINARY_UID):
        pytest.skip("this checkout lies in a folder that only root may enter, so no ordinary user can run a store")
    return besieged(ORDINARY_UID if who == "user" else None, *options)


def can_be_read_by(user: int) -> bool:
    """Whether that user finds this checkout and its Python."""
    probe = [sys.executable, "-c", f"open({__file__!r}).read(); import pytest, jobs.sandbox"]
    return (
        subprocess.run(
            probe, user=user, group=user, extra_groups=(), capture_output=True, check=False, cwd="/"
        ).returncode
        == 0
    )
