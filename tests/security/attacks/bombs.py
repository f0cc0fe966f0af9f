"""Bombs: tasks that take all there is of something, and the words in which their error names it (S5).

Each runs until it is ended: by the limit it exceeds, or, where the kernel merely refuses it more, by its timeout. An
ordinary user has no control groups, so that there some limits hold per process alone and the timeout ends the rest.
"""

from collections.abc import Set
from dataclasses import dataclass
from typing import Final

TIMEOUT_S: Final = 5
LASTING_S: Final = 100
PROCESSES: Final = "processes"
MEMORY: Final = "memory"
SMALL_DISK: Final = "a small disk"


@dataclass(frozen=True, slots=True)
class Bomb:
    """`command` is the task's; its error's message holds one of `ends`, alternatives separated by `|`.

    Where what it `needs` does not hold for the task as a whole, its timeout may end it instead.
    """

    name: str
    command: str
    ends: str = "timeout"
    needs: str | None = None

    def is_named(self, message: str, holds: Set[str]) -> bool:
        words = self.ends.split("|")
        if self.needs is not None and self.needs not in holds:
            words.append("timeout")
        return any(word in message for word in words)


def _python(source: str) -> str:
    return f"exec python3 -I -S - <<'END'\nimport ctypes, fcntl, os, socket, sys, threading, time\n{source}\nEND\n"


_WHILE = """
held = []
def take():
    global held
{take}
try:
    while True:
        take()
except (OSError, RuntimeError, MemoryError):
    pass
time.sleep(3600)
"""


def _taking(take: str, before: str = "") -> str:
    """Takes until the kernel refuses, and keeps what it has."""
    body = "\n".join(f"    {line}" for line in take.splitlines())
    return _python(before + _WHILE.format(take=body))


BOMBS = (
    Bomb("fork", ":(){ :|:& };:; sleep 3600", "processes", PROCESSES),
    Bomb(
        "threads",
        _taking("thread = threading.Thread(target=time.sleep, args=(3600,))\nthread.start()\nheld.append(thread)"),
        "processes",
        PROCESSES,
    ),
    Bomb("zombies", _taking("if os.fork() == 0: os._exit(0)"), "processes", PROCESSES),
    Bomb("memory", _python("hoard = []\nwhile True: hoard.append(bytearray(1 << 20))"), "memory"),
    Bomb(
        "memory of many processes",
        _python(
            "for _ in range(12):\n    if os.fork() == 0:\n        hoard = bytearray(b'x') * (24 << 20)\n        time.sleep(3600)\ntime.sleep(3600)"
        ),
        "memory",
        MEMORY,
    ),
    Bomb(
        "memory in the middle of a pipeline",
        "python3 -I -S -c 'x=[]\nwhile True: x.append(bytearray(1<<20))' | tail -1; sleep 3600",
        "memory",
        MEMORY,
    ),
    Bomb("shared memory", "cat /dev/zero > /dev/shm/file", "scratch"),
    Bomb("scratch", "cat /dev/zero > file", "scratch"),
    Bomb("scratch by a sparse file", "exec truncate -s 1T file", "scratch"),
    Bomb("inodes", _python("number = 0\nwhile True:\n    open(str(number), 'w').close()\n    number += 1"), "scratch"),
    Bomb("nested folders", _python("while True:\n    os.mkdir('d')\n    os.chdir('d')"), "scratch"),
    Bomb("descriptors", _taking("held.append(os.open('/dev/null', os.O_RDONLY))")),
    Bomb(
        "descriptors in flight",
        _python(
            "a, b = socket.socketpair()\ndef send():\n    try:\n        while True: socket.send_fds(a, [b'x'], [0] * 200)\n    except OSError: pass\nfor _ in range(8):\n    if os.fork() == 0:\n        a, b = socket.socketpair()\n        a.setblocking(False)\n        send()\n        time.sleep(3600)\ntime.sleep(3600)"
        ),
    ),
    Bomb(
        "full pipes",
        _taking(
            "r, w = os.pipe()\nfcntl.fcntl(w, 1031, 1 << 20)\nos.set_blocking(w, False)\nos.write(w, bytes(1 << 20))\nheld.append((r, w))"
        ),
        "memory|timeout",
    ),
    Bomb(
        "full sockets",
        _taking("a, b = socket.socketpair()\na.setblocking(False)\na.send(bytes(100000))\nheld.append((a, b))"),
        "memory|timeout",
    ),
    Bomb(
        "message queues",
        _taking(
            "if ctypes.CDLL(None).mq_open(b'/q%d' % len(held), 0o102, 0o600, (ctypes.c_long * 8)(0, 10, 8192)) < 0: raise OSError\nheld.append(0)"
        ),
    ),
    Bomb(
        "timers", _taking("if ctypes.CDLL(None).timer_create(1, 0, ctypes.byref(ctypes.c_long())) < 0: raise OSError")
    ),
    Bomb(
        "watches",
        _taking(
            "if libc.inotify_add_watch(watch, b'/usr/share/doc/%d' % len(held), 2) < 0 and libc.inotify_init() < 0: raise OSError\nheld.append(0)",
            "libc = ctypes.CDLL(None)\nwatch = libc.inotify_init()\n",
        ),
    ),
    Bomb(
        "file locks",
        _taking(
            "fcntl.lockf(file, fcntl.LOCK_EX, 1, 2 * len(held))\nheld.append(0)",
            "file = open('/scratch/locked', 'w')\n",
        ),
        "memory|timeout",
    ),
    Bomb("cpu", "for _ in $(seq 50); do (while :; do :; done) & done; wait"),
    Bomb(
        "signals",
        _python("import signal\nsignal.signal(10, lambda *_: os.kill(0, 10))\nos.kill(0, 10)\nwhile True: pass"),
        "timeout|exit status|signal",
    ),
    Bomb("output", "cat /dev/zero", "output limit", SMALL_DISK),
    Bomb("output by a program", "cat /dev/zero | mpipe", "output limit", SMALL_DISK),
    Bomb(
        "outputs by the thousand",
        _python(
            "import struct\nframe = lambda kind, data=b'': bytes([kind]) + len(data).to_bytes(4, 'big') + data\nwhile True:\n    door = socket.socket(socket.AF_UNIX)\n    door.connect('/run/manta.sock')\n    door.sendall(frame(1, b'output') + frame(2, b'x' * 60000) + frame(3))\n    door.recv(100)"
        ),
        "timeout|output limit",
    ),
    Bomb(
        "calls that never end",
        _python(
            "held = []\nfor _ in range(300):\n    door = socket.socket(socket.AF_UNIX)\n    door.connect('/run/manta.sock')\n    door.send(b'\\x01')\n    held.append(door)\ntime.sleep(3600)"
        ),
        "timeout|exit status",
    ),
    Bomb("stderr", "cat /dev/zero >&2"),
    Bomb(
        "listings",
        _python(
            "for _ in range(100):\n    if os.fork() == 0:\n        while True: os.system('mls eve >/dev/null')\ntime.sleep(3600)"
        ),
        "processes|timeout|memory|exit status",
    ),
    Bomb(
        "flushes of its input's disk",
        _python(
            "file = open(os.environ['MANTA_INPUT_FILE'])\nfor _ in range(40):\n    if os.fork() == 0:\n        while True: os.fsync(file)\ntime.sleep(3600)"
        ),
    ),
    Bomb("sleep", "sleep 3600"),
    Bomb(
        "deaf to signals",
        "trap '' TERM INT HUP QUIT; (setsid bash -c \"trap '' TERM; sleep 3600\" &); while :; do sleep 3600; done",
    ),
)
FEW: Final = tuple(bomb for bomb in BOMBS if bomb.name in ("fork", "memory", "output"))

LASTING: Final = (
    Bomb("cpu that lasts", "for _ in $(seq 50); do (while :; do :; done) & done; wait"),
    Bomb(
        "memory that lasts",
        _python(
            "hoard = bytearray(b'x') * (140 << 20)\nwhile True:\n    for place in range(0, len(hoard), 4096): hoard[place] ^= 1"
        ),
    ),
    Bomb(
        "forks that last",
        _python(
            "while True:\n    try:\n        if os.fork() == 0 and os.fork() == 0: os._exit(0)\n    except OSError:\n        pass"
        ),
    ),
)
"""At their limit and not beyond it: they go on until they are cancelled."""
