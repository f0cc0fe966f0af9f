"""Unpacks the function of a phase, runs it on the task's input, or on each of a batch, and writes its values to stdout.

Runs in the task alone, under `python -I -S`: the standard library, imported as little as can be, since every task waits
for it. What the function prints goes to stderr.
"""

from __future__ import annotations

import functools
import itertools
import os
import pickle
import sys
import zlib

import cloudpickle.cloudpickle as cloudpickle

from jobs.model.values import decode, encode, frames
from jobs.programs.python.in_turns import turns
from jobs.programs.python.later import settle
from jobs.programs.python.task_input import Input
from jobs.programs.turns import IN_TURNS

TYPE_CHECKING = False  # typing itself takes longer to import than all the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType
    from typing import Any, BinaryIO, NoReturn

    Function = Callable[..., Any]

_APPLY: dict[str, Callable[[Function, Iterable[object]], Iterable[object]]] = {
    "map": map,
    "filter": filter,
    "flat_map": lambda function, values: itertools.chain.from_iterable(map(function, values)),
}
_FRAMES_OF_OURS = "jobs."


def main(program: str, raised: str) -> NoReturn:
    """`program` is the file of the packed function; the traceback of what it raises follows a line `raised`."""
    settle()
    out = _take_stdout()
    try:
        steps, fold = _unpack(program)
    except Exception as error:
        _complain(f"The function cannot be unpacked in its task: {_words(error)}. {_remedy(error)}")
        _end(1)
    try:
        for _ in turns() if _in_turns() else (None,):
            source = _values_before() if steps is None else _applied(steps)
            for value in source if fold is None else _folded(fold, source):
                out.write(encode(value, cloudpickle.dumps))
            out.flush()
    except BaseException as error:
        _complain(f"{raised}\n{_traceback(error)}")
        _end(1)
    _end(0)


def _in_turns() -> bool:
    """The argument that says so is none of the function's."""
    found = IN_TURNS in sys.argv
    del sys.argv[1:]
    return found


def _take_stdout() -> BinaryIO:
    """The task's output for values alone: what prints, in C or in children too, finds stderr."""
    out = os.fdopen(os.dup(1), "wb", 1 << 16)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return out


def _unpack(program: str) -> tuple[list[tuple[str, Function]] | None, Function | None]:
    """The steps of a map phase, None in a reduce phase, and what folds the values, if they are folded."""
    with open(program, "rb") as file:
        steps, fold = pickle.loads(zlib.decompress(file.read()))  # noqa: S301 - what the sandbox is for
    return steps, fold


def _applied(steps: list[tuple[str, Function]]) -> Iterable[object]:
    values: Iterable[object] = [Input(os.environ)]
    for kind, function in steps:
        values = _APPLY[kind](function, values)
    return values


def _values_before() -> Iterator[object]:
    """What the phase before made."""
    for kind, payload in frames(sys.stdin.buffer.read):
        yield decode(kind, payload, pickle.loads)


def _folded(fold: Function, values: Iterable[object]) -> Iterator[object]:
    """One value, or none of none."""
    rest = iter(values)
    for first in rest:
        yield functools.reduce(fold, rest, first)


def _traceback(error: BaseException) -> str:
    """Without the frames that are ours."""
    import traceback  # only a failure waits for it

    inner: TracebackType | None = error.__traceback__
    while inner is not None and inner.tb_frame.f_code.co_filename.startswith(_FRAMES_OF_OURS):
        inner = inner.tb_next
    return "".join(traceback.format_exception(type(error), error, inner)).rstrip()


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(".")


def _remedy(error: Exception) -> str:
    if isinstance(error, ImportError):
        return "Install it in the Python environment of the nodes, or give the phase an image that has it."
    return "Pack it with the versions of Python and of libraries that the nodes have."


def _complain(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _end(status: int) -> NoReturn:
    """At once: the task's processes end with this one, so there is nothing to tidy up."""
    sys.stderr.flush()
    os._exit(status)
