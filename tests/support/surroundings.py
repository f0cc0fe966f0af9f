"""What surrounds a store under attack: victims beside the attacker, the host's own sockets, and how to look at them."""

import contextlib
import hashlib
import json
import os
import platform
import socket
import subprocess
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from jobs.sandbox.filters.syscall_numbers import MACHINES
from tests.security.attacks.on_host import OWN_SETTINGS
from tests.support.processes import alive
from tests.support.store import RunningStore
from tests.support.waiting import await_condition

_WAIT_S: Final = 100.0
_NEWER_NUMBERS: Final = {
    "process_mrelease": 448, "map_shadow_stack": 453, "statmount": 457, "listmount": 458, "lsm_set_self_attr": 460,
    "file_setattr": 469,
}  # fmt: skip
"""Those are the same on all machines."""
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
VICTIM: Final = """
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


def numbers() -> dict[str, int]:
    machine = platform.machine()
    return {**MACHINES[machine].numbers, **_NEWER_NUMBERS, **_ABSENT_NUMBERS.get(machine, {})}


def own_doors(running: RunningStore) -> dict[str, object]:
    """Where gateway and node listen: each by a Unix socket, the node also by a port if it is reached by TCP."""
    config = json.loads(next((running.data / "config").glob("node-*.json")).read_text())
    gateway = config["gateways"][0].removeprefix("unix:")
    if config["listen"].startswith("unix:"):
        return {"gateway": gateway, "node": config["listen"].removeprefix("unix:"), "node_port": 0}
    return {"gateway": gateway, "node": "", "node_port": int(config["listen"].rpartition(":")[2])}


def processes_with(variable: str) -> list[int]:
    """The host's numbers of the processes that have it, `NAME=value`, in their environment."""
    wanted, found = variable.encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def await_processes(variable: str, count: int = 1) -> list[int]:
    """So many of them, once they run."""
    found: list[int] = []

    def there() -> bool:
        found[:] = processes_with(variable)
        return len(found) >= count

    await_condition(there, f"{count} processes with {variable}", _WAIT_S)
    return found


def files_of(running: RunningStore, content: bytes, copies: int) -> list[Path]:
    """Those of each copy of it, on all nodes."""
    found: list[Path] = []

    def there() -> bool:
        found.clear()
        for path in running.data.rglob("blobs/*/*/*"):
            with contextlib.suppress(OSError):  # others come and go meanwhile
                if path.stat().st_size == len(content) and path.read_bytes() == content:
                    found.append(path)
        return len(found) == copies

    await_condition(there, "the files of the object under attack")
    return found


def looks_of(file: Path) -> tuple[object, ...]:
    """All that is known of a file."""
    state = file.stat()
    attributes = tuple((name, os.getxattr(file, name)) for name in os.listxattr(file))
    content = hashlib.sha256(file.read_bytes()).hexdigest()
    return state.st_mode, state.st_uid, state.st_nlink, state.st_size, state.st_mtime_ns, attributes, content


def states_of(pids: Iterable[int]) -> tuple[tuple[object, ...], ...]:
    """Of each process what another may want to change: its life, importance, processors and limits."""
    return tuple(_state_of(pid) for pid in pids)


def _state_of(pid: int) -> tuple[object, ...]:
    if not alive(pid):
        return pid, "dead"
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    nice, started, priority, policy = (fields[number] for number in (16, 19, 37, 38))
    limits = Path(f"/proc/{pid}/limits").read_text()
    return pid, started, nice, priority, policy, frozenset(os.sched_getaffinity(pid)), limits


def settings() -> tuple[str, ...]:
    return tuple((Path("/proc/sys") / name).read_text() for name in OWN_SETTINGS)


def visited(listener: socket.socket) -> int:
    try:
        if listener.type == socket.SOCK_DGRAM:
            listener.recv(100)
        else:
            listener.accept()[0].close()
    except BlockingIOError:
        return 0
    return 1


def host_services(stack: ExitStack, folder: Path, name: str) -> tuple[list[socket.socket], dict[str, object]]:
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
