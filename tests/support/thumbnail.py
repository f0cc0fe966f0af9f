#!/usr/bin/env python3
"""PNG in on stdin, a gray PNG of half its width and height on stdout. For tests: what a user may bring along.

Colour types gray and RGB of 8 bits, not interlaced, every filter (https://www.w3.org/TR/png-3/).
"""

import struct
import sys
import zlib
from collections.abc import Iterator, Sequence

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3}


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    if data[:8] != SIGNATURE:
        sys.exit("not a PNG")
    place = 8
    while place < len(data):
        (length,) = struct.unpack_from(">I", data, place)
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        if data[place + 8 + length : place + 12 + length] != struct.pack(">I", zlib.crc32(kind + body)):
            sys.exit(f"the chunk {kind.decode(errors='replace')} is damaged")
        yield kind, body
        place += 12 + length


def paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    return min((abs(guess - left), 0, left), (abs(guess - up), 1, up), (abs(guess - corner), 2, corner))[2]


def unfilter(raw: bytes, width: int, height: int, channels: int) -> list[bytearray]:
    stride = width * channels
    rows: list[bytearray] = []
    above = bytearray(stride)
    for number in range(height):
        kind, *line = raw[number * (stride + 1) : (number + 1) * (stride + 1)]
        row = bytearray(line)
        for place in range(stride):
            left = row[place - channels] if place >= channels else 0
            corner = above[place - channels] if place >= channels else 0
            up = above[place]
            row[place] = (row[place] + (0, left, up, (left + up) // 2, paeth(left, up, corner))[kind]) & 255
        rows.append(row)
        above = row
    return rows


def gray(rows: Sequence[bytes | bytearray], channels: int) -> Sequence[bytes | bytearray]:
    if channels == 1:
        return rows
    return [
        bytes((299 * r + 587 * g + 114 * b) // 1000 for r, g, b in zip(row[::3], row[1::3], row[2::3], strict=True))
        for row in rows
    ]


def halve(rows: Sequence[bytes | bytearray]) -> list[bytes]:
    return [
        bytes((one[x] + one[x + 1] + two[x] + two[x + 1]) // 4 for x in range(0, len(one) - 1, 2))
        for one, two in zip(rows[::2], rows[1::2], strict=False)
    ]


def png(rows: list[bytes]) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 0, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def thumbnail(data: bytes) -> bytes:
    packed, size = b"", None
    for kind, body in chunks(data):
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", body)
            if depth != 8 or colour not in CHANNELS or interlaced:
                sys.exit("only gray and RGB of 8 bits")
            size = width, height, CHANNELS[colour]
        elif kind == b"IDAT":
            packed += body
    if size is None:
        sys.exit("no header")
    return png(halve(gray(unfilter(zlib.decompress(packed), *size), size[2])))


if __name__ == "__main__":
    sys.stdout.buffer.write(thumbnail(sys.stdin.buffer.read()))
