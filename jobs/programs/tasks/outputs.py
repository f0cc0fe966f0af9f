"""mpipe, mput, mtee and mcat: what a task puts out."""

from __future__ import annotations

import os

from jobs.programs.tasks.agent import FRAME_MAX, Agent
from jobs.programs.tasks.arguments import Arguments, number, one_key
from jobs.programs.tasks.failures import Misused
from jobs.programs.tasks.streams import blocks_of, opened, write_all

TYPE_CHECKING = False  # typing itself takes longer to import than all the rest
if TYPE_CHECKING:
    from typing import BinaryIO

CALL_FIELDS = 2048


def output_options(arguments: Arguments, key: str | None) -> list[bytes]:
    options = [] if key is None else [b"name=" + os.fsencode(key)]
    return options + [b"header=" + os.fsencode(header) for header in arguments.all("H")]


def mpipe(given: list[str]) -> None:
    arguments = Arguments(given, "frH", "p")
    options = output_options(arguments, one_key(arguments, needed=False))
    reducer = arguments.one("r")
    if reducer is not None:
        options.append(b"reducer=%d" % number(reducer, "REDUCER"))
    send_output(options, opened(arguments.one("f")), None)


def mput(given: list[str]) -> None:
    arguments = Arguments(given, "fH", "p")
    options = output_options(arguments, one_key(arguments, needed=True))
    send_output([*options, b"side=1"], opened(arguments.one("f")), None)


def mtee(given: list[str]) -> None:
    arguments = Arguments(given, "H", "p")
    options = output_options(arguments, one_key(arguments, needed=True))
    send_output([*options, b"side=1"], None, 1)


def send_output(options: list[bytes], source: BinaryIO | None, copy_to: int | None) -> None:
    agent = Agent()
    agent.call(b"output", *options)
    for block in blocks_of(source):
        agent.data(block)
        if copy_to is not None:
            write_all(copy_to, block)
    agent.end()
    agent.answer()


def mcat(given: list[str]) -> None:
    names = Arguments(given, "", "").operands
    if not names:
        raise Misused("at least one KEY is needed")
    agent = Agent()
    batch: list[bytes] = []
    size = 0
    for name in map(os.fsencode, names):
        if len(batch) == CALL_FIELDS or size + len(name) > FRAME_MAX - 1024:
            agent.call(b"refer", *batch)
            batch, size = [], 0
        batch.append(name)
        size += len(name) + 1
    agent.call(b"refer", *batch)
    agent.end()
    agent.answer()
