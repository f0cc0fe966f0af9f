"""mget and mls: what a task reads of the store."""

from __future__ import annotations

import os

from jobs.programs.tasks.agent import Agent
from jobs.programs.tasks.arguments import Arguments
from jobs.programs.tasks.failures import Failed, Misused
from jobs.programs.tasks.streams import write_all


def mget(given: list[str]) -> None:
    arguments = Arguments(given, "o", "")
    if not arguments.operands:
        raise Misused("at least one KEY is needed")
    path = arguments.one("o")
    descriptor = 1
    if path is not None and path != "-":
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        except OSError as error:
            raise Failed(f"{path}: {error.strerror}") from None
    for name in arguments.operands:
        agent = Agent()
        agent.call(b"get", os.fsencode(name))
        for block in agent.blocks():
            write_all(descriptor, block)


def mls(given: list[str]) -> None:
    arguments = Arguments(given, "", "l0")
    if not arguments.operands:
        raise Misused("at least one BUCKET is needed")
    end = b"\0" if arguments.all("0") else b"\n"
    for name in map(os.fsencode, arguments.operands):
        place = name[5:] if name.startswith(b"s3://") else name.lstrip(b"/")
        bucket = place.partition(b"/")[0]
        after = b""
        while True:
            agent = Agent()
            agent.call(b"list", name, after)
            pieces = b"".join(agent.blocks()).split(b"\0")
            after = pieces[0]
            for key, size in zip(pieces[1::2], pieces[2::2], strict=True):
                line = bucket + b"/" + key + end
                write_all(1, size.rjust(14) + b" " + line if arguments.all("l") else line)
            if not after:
                break
