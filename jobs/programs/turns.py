"""How the agent and a process that takes the inputs of a batch one after another speak with each other. Pure.

The agent is at the other end of the process's stdin, a SOCK_SEQPACKET socket. It sends the variables of an input, and
the process answers ENDED once it has written all of that input's output and stderr. A process that ends instead has
ended that input, as a task of its own would; the agent goes on with another process. Runs in tasks too, under
`python -I -S`: the standard library only, imported as little as can be.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # typing itself takes longer to import than all the rest
if TYPE_CHECKING:
    from collections.abc import Mapping

IN_TURNS = "--in-turns"
"""The argument of a process that takes inputs so."""
ENDED = b"."
TURN_MAX_BYTES = 1 << 17


def encode_turn(variables: Mapping[str, str]) -> bytes:
    return b"\0".join(os.fsencode(f"{name}={value}") for name, value in variables.items())


def decode_turn(message: bytes) -> dict[str, str]:
    return dict(os.fsdecode(pair).split("=", 1) for pair in message.split(b"\0"))
