"""The Python that runs packed functions in tasks: which one, what it finds of the node's libraries, what starts it."""

import functools
import importlib.util
import marshal
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from jobs.model.program import PROGRAM_COMMAND, PROGRAM_FILE, PROGRAM_FOLDER, RAISED, PackedProgram
from jobs.programs.install import ENTER_ROOMS, interpreter

_ROOT: Final = Path(__file__).parents[2]
_ROOMS: Final = (
    "jobs.programs.python.later",
    "jobs.model.values",
    "jobs.programs.python.task_input",
    "jobs.programs.turns",
    "jobs.programs.python.in_turns",
    "jobs.programs.python.main",
)
"""Each after those it needs; cloudpickle comes after the first."""
_CLOUDPICKLE: Final = "cloudpickle.cloudpickle"
_START_FILE: Final = f"{PROGRAM_FOLDER}/start"
_ROOMS_FILE: Final = f"{PROGRAM_FOLDER}/rooms"
_SITES: Final = "/manta/site-packages"
_HOME: Final = "/manta/python-home"
_ASK_TIMEOUT_S: Final = 10.0
_START: Final = f"""\
import marshal, sys
sys.path += {{sites}}
with open("{_ROOMS_FILE}", "rb") as file:
    rooms = marshal.loads(file.read())
{ENTER_ROOMS}room.main("{PROGRAM_FILE}", "{RAISED}")
"""
_IMAGE_RUN: Final = f'#!/bin/sh\nexec python3 -I {_START_FILE} "$@"\n'.encode()
_IMAGE_CHECK: Final = (
    'python3 -I -c \'import sys; has = "%d.%d" % sys.version_info[:2]; '
    'sys.exit(has != "{0}" and f"the function was packed by Python {0}, and the image has Python {{has}}")\''
)


@dataclass(frozen=True, slots=True)
class PythonRuntime:
    """`command`, `version` (major.minor) and `sites` (folders of libraries) are as zones see them.

    `binds` are what zones need to be shown for that: paths in the zone to the host's.
    """

    command: str
    version: str
    sites: tuple[str, ...] = ()
    binds: Mapping[str, Path] = field(default_factory=dict)

    def refusal(self, program: PackedProgram) -> str | None:
        """Why it cannot run here, in one sentence."""
        if program.python == self.version:
            return None
        return (
            f"The function {program.name} was packed by Python {program.python}, and this node runs tasks with "
            f"Python {self.version}: submit it from Python {self.version}, or give the phase an image with Python "
            f"{program.python}."
        )

    def files(self, program: PackedProgram) -> dict[str, bytes]:
        """What a zone of the program holds, by path. The first call compiles: call it in a thread."""
        start = f"#!{self.command} -IS\n{_START.format(sites=list(self.sites))}".encode()
        rooms = _rooms(compiled=_is_own(self.version))
        return {PROGRAM_FILE: program.code, PROGRAM_COMMAND: start, _ROOMS_FILE: rooms}

    def files_in_image(self, program: PackedProgram) -> dict[str, bytes]:
        """The same for a zone that has an image, whose Python compiles for itself."""
        start = _START.format(sites=[]).encode()
        rooms = _rooms(compiled=False)
        return {PROGRAM_FILE: program.code, PROGRAM_COMMAND: _IMAGE_RUN, _START_FILE: start, _ROOMS_FILE: rooms}


def image_check(program: PackedProgram) -> str:
    """A command for `init` that fails where the image has another Python."""
    return _IMAGE_CHECK.format(program.python)


def python_runtime() -> PythonRuntime:
    """The node's own Python with its libraries if zones can be shown it, else the one under /usr."""
    home = Path(sys.base_prefix)
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    if home.is_relative_to("/usr"):
        return PythonRuntime(str(Path(sys.executable).resolve()), own, *_sites(sys.path))
    if _is_open(home) and not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        sites, binds = _sites(sys.path)
        return PythonRuntime(f"{_HOME}/bin/python{own}", own, sites, {_HOME: home, **binds})
    return PythonRuntime(interpreter(), _version(interpreter()) or own)


def _sites(paths: Iterable[str]) -> tuple[tuple[str, ...], dict[str, Path]]:
    """Folders of installed libraries as zones see them, and those that they have to be shown."""
    sites: list[str] = []
    binds: dict[str, Path] = {}
    for path in map(Path, paths):
        if path.name not in ("site-packages", "dist-packages") or not path.is_dir():
            continue
        if path.is_relative_to("/usr"):
            sites.append(str(path))
        elif _is_open(path):
            place = f"{_SITES}-{len(binds)}" if binds else _SITES
            binds[place] = path
            sites.append(place)
    return tuple(sites), binds


def _is_open(folder: Path) -> bool:
    """Whether those may read it whom zones run as: under root, users of their own."""
    if os.geteuid() != 0:
        return os.access(folder, os.R_OK | os.X_OK)
    folder = folder.resolve()
    return folder.stat().st_mode & 0o005 == 0o005 and all(parent.stat().st_mode & 0o001 for parent in folder.parents)


def _is_own(version: str) -> bool:
    return version == f"{sys.version_info.major}.{sys.version_info.minor}"


def _version(python: str) -> str | None:
    command = [python, "-ISc", "import sys; print('%d.%d' % sys.version_info[:2])"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_ASK_TIMEOUT_S, check=True, text=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


@functools.cache
def _rooms(*, compiled: bool) -> bytes:
    """(name, code) of each module; its text where another Python is to compile it."""
    sources = [(room, _ROOT / f"{room.replace('.', '/')}.py") for room in _ROOMS]
    sources.insert(1, (_CLOUDPICKLE, _cloudpickle_file()))
    texts = [("cloudpickle", ""), *((name, path.read_text()) for name, path in sources)]
    if not compiled:
        return marshal.dumps(texts)
    return marshal.dumps([(name, compile(text, name, "exec", dont_inherit=True, optimize=2)) for name, text in texts])


def _cloudpickle_file() -> Path:
    """Found without importing it: no node does (S6)."""
    found = importlib.util.find_spec("cloudpickle")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).with_name("cloudpickle.py")
