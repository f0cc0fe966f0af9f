"""msplit: lines dealt to reducers by a hash, so that a key meets its like."""

from __future__ import annotations

import os

from jobs.programs.tasks.agent import Agent
from jobs.programs.tasks.arguments import Arguments, field_numbers, number
from jobs.programs.tasks.failures import Misused
from jobs.programs.tasks.streams import line_blocks


def msplit(given: list[str]) -> None:
    arguments = Arguments(given, "nfd", "")
    if arguments.operands:
        raise Misused("no KEY is taken: outputs go to reducers")
    count = number(arguments.one("n"), "NUMBER")
    if not 1 <= count <= 128:
        raise Misused("NUMBER lies between 1 and 128")
    chosen = arguments.one("f")
    fields = field_numbers(chosen) if chosen is not None else None
    separator = os.fsencode(arguments.one("d") or "\t")
    agents = [Agent() for _ in range(count)]
    for reducer, agent in enumerate(agents):
        agent.call(b"output", b"reducer=%d" % reducer)
    from zlib import crc32  # the same everywhere, so that a key meets its like

    for lines in line_blocks():
        shares: list[list[bytes]] = [[] for _ in agents]
        for line in lines:
            key = line
            if fields is not None:
                parts = line.split(separator)
                key = separator.join([parts[field] for field in fields if field < len(parts)])
            shares[crc32(key) % count].append(line)
        for agent, share in zip(agents, shares, strict=True):
            if share:
                agent.data(b"\n".join(share) + b"\n")
    for agent in agents:
        agent.end()
    for agent in agents:
        agent.answer()
