"""JSON whose objects have each name once: of two, readers differ on which counts."""

import json
from typing import Any

import msgspec


class NameTwiceError(ValueError):
    """An object has that name twice."""

    def __init__(self, name: str) -> None:
        super().__init__(f"`{name[:80]}` comes twice in one object: write it once")


def decode_once(text: bytes) -> Any:
    """What it says. NameTwiceError; else ValueError or RecursionError where it is not JSON.

    msgspec says what is JSON, the standard library which names come twice: each is lax about the other.
    """
    msgspec.json.decode(text)
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise NameTwiceError(name)
        found[name] = value
    return found
