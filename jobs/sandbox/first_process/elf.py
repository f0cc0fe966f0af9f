"""Whether an executable needs a loader, and which: its ELF program header PT_INTERP (elf(5)). Pure."""

import struct
from typing import Final

_PT_INTERP: Final = 3
_HEADER_64: Final = struct.Struct("<16xHHIQQQIHHHHHH")
_PROGRAM_64: Final = struct.Struct("<IIQQQQQQ")


def loader_of(content: bytes) -> str | None:
    """The path of the loader of a 64-bit little-endian executable; None for one that is static, or no such file."""
    if content[:6] != b"\x7fELF\x02\x01" or len(content) < _HEADER_64.size:
        return None
    _, _, _, _, start, _, _, _, size, count, *_ = _HEADER_64.unpack_from(content)
    for place in range(start, start + size * count, size or 1):
        if place + _PROGRAM_64.size > len(content):
            return None
        kind, _, offset, _, _, length, _, _ = _PROGRAM_64.unpack_from(content, place)
        if kind == _PT_INTERP:
            return content[offset : offset + length].rstrip(b"\0").decode(errors="replace")
    return None


def names_a_loader(content: bytes) -> bool:
    return loader_of(content) is not None
