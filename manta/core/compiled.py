"""Small C programs of ours, compiled on the machine that runs them: once for each source, and kept."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

COMPILERS: Final = ("cc", "gcc", "clang")
_FLAGS: Final = ("-O2", "-std=gnu11", "-Wall", "-Wextra", "-fstack-protector-strong")
_TIMEOUT_S: Final = 60.0


def compiled(folder: Path, name: str, sources: Sequence[Path], libraries: Sequence[str] = ()) -> Path | None:
    """The program in `folder`, static where that can be had; None without a compiler that does it.

    `sources` are the files to compile, and the headers among them. Binaries of other sources are removed.
    """
    digest = sha256(b"\0".join(source.read_bytes() for source in sources)).hexdigest()
    binary = folder / f"{name}-{digest[:16]}"
    if binary.exists():
        return binary
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        return None
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = binary.with_suffix(f".{os.getpid()}")
    files = [str(source) for source in sources if source.suffix == ".c"]
    for linkage in (("-static",), ()):
        if _compile([compiler, *_FLAGS, *linkage, "-o", str(temporary), *files, *libraries]):
            for old in folder.glob(f"{name}-{'?' * 16}"):
                old.unlink(missing_ok=True)
            temporary.replace(binary)
            return binary
    return None


def _compile(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
