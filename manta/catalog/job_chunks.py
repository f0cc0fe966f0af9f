"""Inputs as they wait to be resolved: encoded lists of a bounded number of specs."""

from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec

from jobs.model.inputs import InputSpec
from manta.core.limits import RESOLVE_PAGE

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(list[InputSpec])


def encode_chunks(specs: Iterable[InputSpec]) -> Iterator[tuple[bytes, int]]:
    """(encoded specs, how many), for `NewJob.chunks` and `JobStore.add_inputs`."""
    rest = iter(specs)
    while page := list(islice(rest, RESOLVE_PAGE)):
        yield _ENCODER.encode(page), len(page)


def decode_chunk(data: bytes) -> list[InputSpec]:
    return _DECODER.decode(data)
