"""Where the in-task programs lie in a zone, and what they are made of."""

import sys
from pathlib import Path
from typing import Final

PROGRAMS_FOLDER: Final = "/manta/bin"
NAMES: Final = ("maggr", "mcat", "mget", "mls", "mpipe", "mput", "msplit", "mtee")
_PROGRAM: Final = f"{PROGRAMS_FOLDER}/manta-task"
_INTERPRETERS: Final = ("/usr/bin/python3", "/usr/local/bin/python3")


def interpreter() -> str:
    """A Python that zones see too: they have the host's /usr alone."""
    found = next((path for path in _INTERPRETERS if Path(path).exists()), None)
    if found is not None:
        return found
    own = str(Path(sys.executable).resolve())
    return own if own.startswith("/usr/") else _INTERPRETERS[0]


def programs() -> dict[str, bytes]:
    """Executable files by their path in the zone."""
    source = Path(__file__).with_name("task_programs.py").read_bytes()
    return {_PROGRAM: f"#!{interpreter()} -IS\n".encode() + source}


def links() -> dict[str, str]:
    """The names by which the one program is called."""
    return {f"{PROGRAMS_FOLDER}/{name}": Path(_PROGRAM).name for name in NAMES}
