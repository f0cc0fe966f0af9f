"""Which fork server a zone runs: the C one, compiled once per source and kept; without a compiler the Python one."""

from pathlib import Path
from typing import Final

from jobs.sandbox.building.blueprint import Program, SealedFile
from jobs.sandbox.first_process.elf import names_a_loader
from manta.core.compiled import compiled
from manta.core.errors import SandboxUnavailable

_SYSTEM_PYTHON: Final = Path("/usr/bin/python3")


def fork_server(state_dir: Path, wanted: str | None = None) -> Program:
    """`wanted` is "c", "python" or None for the best there is; SandboxUnavailable when it cannot be had."""
    if wanted != "python":
        binary = compiled(state_dir, "forkserver", [Path(__file__).with_name("forkserver.c")])
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
