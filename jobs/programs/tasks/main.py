"""mpipe, mcat, mtee, msplit, mget, mput, mls and maggr: what a task runs to reach the store through its agent.

It does what the name says by which it is called, under `python -I -S`: each start is waited for.
"""

from __future__ import annotations

import os
import sys

from jobs.programs.tasks.aggregate import maggr
from jobs.programs.tasks.failures import Failed, Misused
from jobs.programs.tasks.outputs import mcat, mpipe, mput, mtee
from jobs.programs.tasks.reading import mget, mls
from jobs.programs.tasks.split import msplit

TYPE_CHECKING = False  # typing itself takes longer to import than all the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

USAGE = {
    "mpipe": "mpipe [-p] [-f FILE] [-r REDUCER] [-H 'name: value'] [KEY]",
    "mcat": "mcat KEY…",
    "mtee": "mtee [-p] [-H 'name: value'] KEY",
    "msplit": "msplit -n NUMBER [-f FIELD[,FIELD…]] [-d SEPARATOR]",
    "mget": "mget [-o FILE] KEY…",
    "mput": "mput [-p] [-f FILE] [-H 'name: value'] KEY",
    "mls": "mls [-l] [-0] BUCKET[/PREFIX]…",
    "maggr": "maggr [-d SEPARATOR] [-k FIELD[,FIELD…]] -c FIELD OP [-c FIELD OP]…   (OP: sum count min max mean)",
}

PROGRAMS: dict[str, Callable[[list[str]], None]] = {
    "mpipe": mpipe, "mcat": mcat, "mtee": mtee, "msplit": msplit,
    "mget": mget, "mput": mput, "mls": mls, "maggr": maggr,
}  # fmt: skip


def main(path: str, given: list[str]) -> NoReturn:
    name = path.rpartition("/")[2]
    program = PROGRAMS.get(name)
    if program is None:
        complain(f"manta: this is {', '.join(PROGRAMS)}: call it by one of these names")
        sys.exit(2)
    try:
        program(given)
    except Misused as error:
        complain(f"{name}: {error}\nusage: {USAGE[name]}")
        sys.exit(2)
    except Failed as error:
        complain(f"{name}: {error}")
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(141)
    except OSError as error:
        complain(f"{name}: {error.strerror}")
        sys.exit(1)
    sys.exit(0)


def complain(text: str) -> None:
    os.write(2, os.fsencode(text) + b"\n")
