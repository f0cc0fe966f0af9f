"""Runs inside a task: tries each attack in a process of its own and says how it ended, a line of JSON each.

A program of its own (`python3 -I -S -c`), standard library only. ATTACKS is a JSON list of (name, code), FACTS what an
attacker may know of the host: where things lie, which processes and ports there are. It goes on until there is an object
by the name in GO. AFTERWARDS is what the task then leaves behind for the next one in its zone.
"""

import ctypes
import errno
import fcntl  # noqa: F401 - for the attacks
import json
import mmap  # noqa: F401
import os
import signal
import socket  # noqa: F401
import stat  # noqa: F401
import struct  # noqa: F401
import subprocess
import sys  # noqa: F401
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FACTS: dict[str, Any] = json.loads(os.environ.get("FACTS", "{}"))
INPUT = os.environ.get("MANTA_INPUT_FILE", "")
ATTEMPT_S = 20
PAUSE_S = 0.05


def _descriptors() -> str:
    """All that this process was given, and what stands behind each."""
    found = []
    for place in sorted(Path("/proc/self/fd").iterdir()):
        try:
            target = str(place.readlink())
        except FileNotFoundError:  # that of the listing itself
            continue
        found.append(f"{place.name}: {'the input' if target == INPUT else target.partition('[')[0]}")
    return ", ".join(found)


GIVEN = _descriptors()
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


class Held(Exception):
    """The attack's own word for what stopped it."""


def held(word: str) -> None:
    raise Held(word)


def call(name: str, *arguments: Any) -> int:
    """The raw system call; OSError when it is refused, ENOSYS also where the machine has none of that name."""
    if name not in FACTS["numbers"]:
        raise OSError(errno.ENOSYS, name)
    given = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    ctypes.set_errno(0)
    result: int = libc.syscall(ctypes.c_long(FACTS["numbers"][name]), *given)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


def try_each(attempt: Callable[[int], object]) -> None:
    """On each process of the host that is known: held by what held every one, goes through if one does."""
    words = set()
    for pid in FACTS["pids"]:
        try:
            attempt(pid)
            words.add(f"went through to {pid}")
        except OSError as error:
            words.add(errno.errorcode.get(error.errno or 0, str(error)))
    held(", ".join(sorted(words)))


def write_to(path: str, flags: int = 0) -> None:
    descriptor = os.open(path, os.O_WRONLY | flags)
    os.write(descriptor, b"overwritten")


def search(folder: str, wanted: bytes) -> None:
    """Goes through when a file below the folder holds those bytes."""
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                descriptor = os.open(f"{place}/{name}", os.O_RDONLY | os.O_NONBLOCK)
            except OSError:
                continue
            try:
                if wanted in os.read(descriptor, 1 << 20):
                    return
            except OSError:
                pass
            finally:
                os.close(descriptor)
    held("not found")


def run(*command: str) -> str:
    """What a program said; held with its first complaint when it failed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        held("refused")
    return done.stdout


def outcome(code: str) -> str:
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ours)
        signal.alarm(ATTEMPT_S)
        try:
            exec(code, dict(globals()))
            word = "went through"
        except Held as reason:
            word = str(reason)
        except OSError as error:
            word = errno.errorcode.get(error.errno or 0, str(error))
        except BaseException as error:
            word = f"{type(error).__name__}: {error}"
        os.write(theirs, word.encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as words:
        said = words.read().decode()
    status = os.waitpid(pid, 0)[1]
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else said


def main() -> None:
    for name, code in json.loads(os.environ["ATTACKS"]):
        print(json.dumps([name, outcome(code)]), flush=True)
    while "GO" in os.environ and subprocess.run(["mget", os.environ["GO"]], capture_output=True).returncode != 0:
        time.sleep(PAUSE_S)
    exec(os.environ.get("AFTERWARDS", ""))


if __name__ == "__main__":
    main()
