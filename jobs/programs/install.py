"""Where the in-task programs lie in a zone, and what they are made of."""

import subprocess
import sys
from pathlib import Path
from typing import Final

PROGRAMS_FOLDER: Final = "/manta/bin"
NAMES: Final = ("maggr", "mcat", "mget", "mls", "mpipe", "mput", "msplit", "mtee")
_PROGRAM: Final = f"{PROGRAMS_FOLDER}/manta-task"
_CODE: Final = "/manta/code"
_INTERPRETERS: Final = ("/usr/bin/python3", "/usr/local/bin/python3")
_COMPILE_TIMEOUT_S: Final = 30.0
_COMPILE: Final = (
    "import marshal, sys; "
    "code = compile(sys.stdin.buffer.read(), 'manta-task', 'exec', dont_inherit=True, optimize=2); "
    "sys.stdout.buffer.write(marshal.dumps(code))"
)
_START: Final = f"""\
import marshal
with open("{_CODE}", "rb") as file:
    code = marshal.loads(file.read())
exec(code)
"""


UNPACK_COMMAND: Final = 'exec "$PYTHON" -I -S -c "$UNPACKER" $ARGUMENTS'
"""How the unpacker of images is run in a zone; what it takes is in its first lines."""


def unpacker() -> str:
    return Path(__file__).with_name("unpack_image.py").read_text()


def interpreter() -> str:
    """A Python that zones see too: they have the host's /usr alone."""
    found = next((path for path in _INTERPRETERS if Path(path).exists()), None)
    if found is not None:
        return found
    own = str(Path(sys.executable).resolve())
    return own if own.startswith("/usr/") else _INTERPRETERS[0]


def programs() -> dict[str, bytes]:
    """Files by their path in the zone. Compiled here by that very Python, so that no start has to do it again."""
    python = interpreter()
    source = Path(__file__).with_name("task_programs.py").read_bytes()
    first_line = f"#!{python} -IS\n".encode()
    code = _compiled(python, source)
    if code is None:
        return {_PROGRAM: first_line + source}
    return {_PROGRAM: first_line + _START.encode(), _CODE: code}


def links() -> dict[str, str]:
    """The names by which the one program is called."""
    return {f"{PROGRAMS_FOLDER}/{name}": Path(_PROGRAM).name for name in NAMES}


def _compiled(python: str, source: bytes) -> bytes | None:
    try:
        done = subprocess.run(
            [python, "-IS", "-c", _COMPILE], input=source, capture_output=True, timeout=_COMPILE_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 and done.stdout else None
