"""The names a document may use: unknown ones are refused with the nearest known one, planned ones answer 501."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Final

from manta.core.errors import InvalidArgument, NotImplementedHere

JOB: Final = ("name", "phases", "inputs", "end", "output", "max_errors")
PHASE: Final = (
    *("type", "exec", "init", "assets", "image", "memory", "disk", "timeout", "count", "env", "retries"),
    *("split", "batch", "cpus", "program"),
)


def check_known(given: Iterable[object], known: Sequence[str], later: Sequence[str], where: str) -> None:
    """Nothing, or InvalidArgument (unknown), or NotImplementedHere (designed, but not in this version)."""
    for name in given:
        if name in known:
            continue
        if name in later:
            raise NotImplementedHere(f"`{name}` of {where} is not implemented in this version: leave it out.")
        near = difflib.get_close_matches(str(name), [*known, *later], n=1, cutoff=0.5)
        hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(known)}."
        raise InvalidArgument(f"`{name}` is no property of {where}: {hint}")
