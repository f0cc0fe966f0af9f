"""Which fork server a zone runs: the C one, compiled once per source and kept; without a compiler the Python one."""

import os
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Final

from jobs.sandbox.elf import names_a_loader
from jobs.sandbox.launch import Program, SealedFile
from manta.core.errors import SandboxUnavailable

_COMPILERS: Final = ("cc", "gcc", "clang")
_FLAGS: Final = ("-O2", "-std=gnu11", "-Wall", "-Wextra", "-fstack-protector-strong")
_COMPILE_TIMEOUT_S: Final = 60.0
_SYSTEM_PYTHON: Final = Path("/usr/bin/python3")


def fork_server(state_dir: Path, wanted: str | None = None) -> Program:
    """`wanted` is "c", "python" or None for the best there is; SandboxUnavailable when it cannot be had."""
    if wanted != "python":
        binary = _compiled(state_dir)
        if binary is not None:
            content = binary.read_bytes()
            return Program("c", SealedFile("forkserver", content), stands_alone=not names_a_loader(content))
        if wanted == "c":
            raise SandboxUnavailable("The C fork server cannot be compiled: install a C compiler (package `gcc`).")
    if not _SYSTEM_PYTHON.exists():
        raise SandboxUnavailable(
            f"Neither a C compiler nor {_SYSTEM_PYTHON} is there to run the fork server: install `gcc` or `python3`."
        )
    source = Path(__file__).with_name("forkserver.py").read_bytes()
    return Program("python", SealedFile("forkserver", source), (str(_SYSTEM_PYTHON), "-I", "-S"))


def _compiled(state_dir: Path) -> Path | None:
    source = Path(__file__).with_name("forkserver.c")
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    binary = state_dir / f"forkserver-{sha256(source.read_bytes()).hexdigest()[:16]}"
    if binary.exists():
        return binary
    compiler = next(filter(None, map(shutil.which, _COMPILERS)), None)
    if compiler is None:
        return None
    temporary = binary.with_suffix(f".{os.getpid()}")
    for linkage in (("-static",), ()):
        if _compile([compiler, *_FLAGS, *linkage, "-o", str(temporary), str(source)]):
            temporary.replace(binary)
            return binary
    return None


def _compile(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=_COMPILE_TIMEOUT_S, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
