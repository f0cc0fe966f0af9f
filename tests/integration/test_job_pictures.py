"""Case 5: pictures converted where they lie, by a program brought along as an asset, the results beside them."""

import random
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from manta.sdk import Store
from tests.support.shared_store import shared_store
from tests.support.store import RunningStore

Pixels = list[list[tuple[int, int, int]]]
PROGRAM = Path(__file__).parents[1] / "support" / "thumbnail.py"
COMMAND = (
    'name="${MANTA_INPUT_OBJECT%.png}.thumb.png"; '
    "/assets/tools/thumbnail.py | mpipe -p -H 'content-type: image/png' -H 'x-amz-meta-scale: 1/2' \"$name\""
)


running = shared_store("--nodes", "3", "--copies", "2")


@pytest.fixture(scope="module")
def store(running: RunningStore) -> Iterator[Store]:
    with running.client() as client:
        client.make_bucket("tools")
        client.make_bucket("album")
        client.write("s3://tools/thumbnail.py", PROGRAM.read_bytes())
        yield client


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png(pixels: Pixels, kind: int) -> bytes:
    """RGB of 8 bits, its lines filtered in that way: 0 none, 1 what is left of it, 2 what is above it."""
    flat = [[value for pixel in row for value in pixel] for row in pixels]
    lines = []
    for number, row in enumerate(flat):
        above = flat[number - 1] if number else [0] * len(row)
        left = [0, 0, 0, *row[:-3]]
        base = ([0] * len(row), left, above)[kind]
        lines.append(bytes([kind, *((value - other) & 255 for value, other in zip(row, base, strict=True))]))
    header = struct.pack(">IIBBBBB", len(pixels[0]), len(pixels), 8, 2, 0, 0, 0)
    parts = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(b"".join(lines))), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _gray_pixels(data: bytes) -> list[list[int]]:
    """Of a gray PNG without filters, as the program makes it; each chunk's sum checked by hand."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack_from(">II", data, 16)
    length = struct.unpack_from(">I", data, 33)[0]
    assert data[37:41] == b"IDAT"
    raw = zlib.decompress(data[41 : 41 + length])
    lines = [raw[row * (width + 1) : (row + 1) * (width + 1)] for row in range(height)]
    assert all(line[0] == 0 for line in lines)
    return [list(line[1:]) for line in lines]


def _expected(pixels: Pixels) -> list[list[int]]:
    gray = [[(299 * r + 587 * g + 114 * b) // 1000 for r, g, b in row] for row in pixels]
    rows, columns = len(gray) // 2, len(gray[0]) // 2
    return [
        [sum(gray[2 * y + dy][2 * x + dx] for dy in (0, 1) for dx in (0, 1)) // 4 for x in range(columns)]
        for y in range(rows)
    ]


def _picture(dice: random.Random) -> Pixels:
    """A gradient with a few blots."""
    width, height = dice.randrange(8, 40), dice.randrange(8, 40)
    pixels = [[(8 * x % 256, 5 * y % 256, (x * y) % 256) for x in range(width)] for y in range(height)]
    for _ in range(20):
        pixels[dice.randrange(height)][dice.randrange(width)] = (dice.randrange(256), 255, 0)
    return pixels


def test_thumbnails_lie_beside_their_pictures(store: Store, running: RunningStore) -> None:
    dice = random.Random(5)
    pictures = {f"2026/picture {number}.png": (_picture(dice), number % 3) for number in range(24)}
    for key, (pixels, kind) in pictures.items():
        store.write(f"s3://album/{key}", _png(pixels, kind))
    store.write("s3://album/2026/broken.png", b"\x89PNG\r\n\x1a\nnot a picture at all")
    done = running.manta(
        "job", "run", "--json", "--asset", "s3://tools/thumbnail.py", "-m", f"set -o pipefail; {COMMAND}",
        "s3://album/2026/*.png",
    )  # fmt: skip
    assert done.returncode == 3, done.stderr  # the broken one
    (status,) = store.jobs(limit=1)
    job = store.job(status.id)
    thumbnails = {f"2026/picture {number}.thumb.png" for number in range(24)}
    assert {(line["bucket"], line["key"]) for line in job.outputs()} == {("album", key) for key in thumbnails}
    (error,) = job.errors()
    assert (error["code"], error["input"]) == ("UserTaskError", "album/2026/broken.png")
    assert "damaged" in error["stderr"]
    for key, (pixels, _) in pictures.items():
        uri = f"s3://album/{key[:-4]}.thumb.png"
        assert _gray_pixels(store.read(uri)) == _expected(pixels)
    head = store.head("s3://album/2026/picture 3.thumb.png")
    assert (head["ContentType"], head["Metadata"]["scale"]) == ("image/png", "1/2")
    assert status.input_bytes_moved == 0
    assert not store.exists("s3://album/2026/broken.thumb.png")
