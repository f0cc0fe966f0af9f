"""Where the in-task programs lie in a zone, and what they are made of: one small C program, or the same in Python."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from manta.core.compiled import compiled

PROGRAMS_FOLDER: Final = "/manta/bin"
NAMES: Final = ("maggr", "mcat", "mget", "mls", "mpipe", "mput", "msplit", "mtee")
_PROGRAM: Final = f"{PROGRAMS_FOLDER}/manta-task"
_CODE: Final = "/manta/code"
_NATIVE: Final = Path(__file__).with_name("native")
_ROOMS: Final = ("failures", "agent", "arguments", "streams", "outputs", "split", "reading", "aggregate", "main")
"""Of the Python program, each after those it needs."""
_UNPACKER_ROOMS: Final = ("refusal", "archive", "layers", "manifest", "tree", "main")
_INTERPRETERS: Final = ("/usr/bin/python3", "/usr/local/bin/python3")
_COMPILE_TIMEOUT_S: Final = 30.0
_COMPILE: Final = (
    "import json, marshal, sys; "
    "sources = json.load(sys.stdin); "
    "codes = [(name, compile(text, name, 'exec', dont_inherit=True, optimize=2)) for name, text in sources]; "
    "sys.stdout.buffer.write(marshal.dumps(codes))"
)
ENTER_ROOMS: Final = """\
for name, code in rooms:
    room = sys.modules[name] = type(sys)(name)
    exec(code, room.__dict__)
    parent, _, last = name.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], last, room)
"""
"""Of a program that is made of modules, (name, code) each after those it needs: the last one has its `main`."""
_START: Final = f"""\
import marshal, sys
with open("{{code}}", "rb") as file:
    rooms = marshal.loads(file.read())
{ENTER_ROOMS}room.main(sys.argv[0], sys.argv[1:])
"""
NO_PROGRAMS: Final = (
    "There is neither a C compiler nor a usable Python under /usr, so tasks find no mpipe, mcat and the like: install "
    "gcc and libc6-dev, then restart the node."
)
_UNPACKER_START: Final = f"""\
import sys
rooms = {{rooms}}
{ENTER_ROOMS}room.main()
"""
UNPACK_COMMAND: Final = 'exec "$PYTHON" -I -S -c "$UNPACKER" $ARGUMENTS'
"""How the unpacker of images is run in a zone; the package's first lines say what it takes."""


def unpacker() -> str:
    """Its modules as one program, which a Python is given by `-c`."""
    folder = Path(__file__).with_name("unpacking")
    sources = [(f"jobs.programs.unpacking.{room}", (folder / f"{room}.py").read_text()) for room in _UNPACKER_ROOMS]
    return _UNPACKER_START.format(rooms=sources)


def programs(state_dir: Path) -> dict[str, bytes]:
    """Files by their path in the zone; none where there is neither a compiler nor a Python that zones see."""
    binary = compiled(state_dir, "manta-task", sorted(_NATIVE.glob("*.[ch]")), ("-lm",))
    return {_PROGRAM: binary.read_bytes()} if binary is not None else python_programs()


def kind(files: Mapping[str, bytes]) -> str:
    """In which language those programs are; empty where there are none."""
    return ("Python" if _CODE in files else "C") if files else ""


def python_programs(code_path: str = _CODE) -> dict[str, bytes]:
    """The same in Python, compiled here by the very Python that zones have: no start has to do it again."""
    python = interpreter()
    folder = Path(__file__).with_name("tasks")
    sources = [(f"jobs.programs.tasks.{room}", (folder / f"{room}.py").read_text()) for room in _ROOMS]
    code = _compiled(python, json.dumps(sources).encode())
    if code is None:
        return {}
    return {_PROGRAM: f"#!{python} -IS\n{_START.format(code=code_path)}".encode(), _CODE: code}


def links() -> dict[str, str]:
    """The names by which the one program is called."""
    return {f"{PROGRAMS_FOLDER}/{name}": Path(_PROGRAM).name for name in NAMES}


def interpreter() -> str:
    """A Python that zones see too: they have the host's /usr alone."""
    found = next((path for path in _INTERPRETERS if Path(path).exists()), None)
    if found is not None:
        return found
    own = str(Path(sys.executable).resolve())
    return own if own.startswith("/usr/") else _INTERPRETERS[0]


def _compiled(python: str, sources: bytes) -> bytes | None:
    try:
        done = subprocess.run(
            [python, "-IS", "-c", _COMPILE], input=sources, capture_output=True, timeout=_COMPILE_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 and done.stdout else None
