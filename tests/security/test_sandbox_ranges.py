"""A task whose stdin is a range of its object: exact bytes, an end in time, and nothing new to take hold of (S4)."""

import asyncio
from hashlib import sha256
from pathlib import Path

import pytest

from jobs.sandbox.zone import ForkServerZone
from manta.core.errors import SandboxUnavailable
from tests.support.sandbox import CONTENT, Workshop, put_blob

LINE_END = CONTENT.index(b"\n") + 1


async def test_stdin_is_the_range_and_the_file_is_the_whole(workshop: Workshop) -> None:
    ended = await workshop.run_on_blob("cat; cat $INPUT", env={"INPUT": "/input/input.txt"}, stdin_range=(LINE_END, 29))
    assert ended.out.encode() == CONTENT[LINE_END:29] + CONTENT
    assert (ended.status, ended.err) == (0, "")


async def test_every_byte_of_a_large_range_comes_once(workshop: Workshop) -> None:
    data = bytes(range(256)) * 4096 * 5
    blob = put_blob(workshop.blobs, "blob-2", data)
    start, end = 12_345, len(data) - 54_321
    ended = await workshop.run("sha256sum", blob=blob, input_name="x", stdin_range=(start, end))
    assert ended.out.split()[0] == sha256(data[start:end]).hexdigest()


async def test_a_task_that_wants_no_more_succeeds(workshop: Workshop) -> None:
    blob = put_blob(workshop.blobs, "blob-2", b"line\n" * (1 << 20))
    ended = await workshop.run("head -n 1", blob=blob, input_name="x", stdin_range=(5, 5 << 20))
    assert (ended.status, ended.out) == (0, "line\n")
    left_open = "read line; sleep 60 < /dev/stdin & exit 3"
    ended = await workshop.run(left_open, blob=blob, input_name="x", stdin_range=(5, 5 << 20))
    assert ended.status == 3


async def test_a_range_that_is_not_there_is_no_short_input(workshop: Workshop) -> None:
    """The task has read less than it was promised: its end does not count, whatever it is."""
    with pytest.raises(SandboxUnavailable, match="range of the input"):
        await workshop.run_on_blob("cat", stdin_range=(5, 10_000))


_LOOK = """
import os
mine = {int(name) for name in os.listdir("/proc") if name.isdigit()} - {os.getpid(), os.getppid()}
print(sorted(os.listdir("/proc/self/fd")))
for pid in sorted(mine):
    for what in ("fd/3", "fd/4", "mem", "environ"):
        try:
            open(f"/proc/{pid}/{what}", "r+b" if what == "mem" else "rb").close()
            print("opened", what)
        except OSError:
            pass
"""


async def test_s4_the_feeding_process_gives_nothing_away(workshop: Workshop) -> None:
    blob = put_blob(workshop.blobs, "blob-2", b"line\n" * (1 << 20))
    ended = await workshop.python(_LOOK, blob=blob, input_name="x", stdin_range=(5, 5 << 20))
    assert ended.out == "['0', '1', '2', '3']\n", ended


async def test_a_task_that_never_reads_is_ended_with_its_feeder(workshop: Workshop) -> None:
    blob = put_blob(workshop.blobs, "blob-2", b"line\n" * (1 << 20))
    before = _zone_processes(workshop)
    work = workshop.run("sleep 60", blob=blob, input_name="x", stdin_range=(5, 5 << 20))
    running = asyncio.create_task(work)
    while len(_zone_processes(workshop)) < len(before) + 3:  # process 1, the feeder, the shell or its sleep
        await asyncio.sleep(0.01)
    await workshop.zone.kill()
    assert (await running).end.overrun is not None
    assert _zone_processes(workshop) == before


def _zone_processes(workshop: Workshop) -> set[int]:
    assert isinstance(workshop.zone, ForkServerZone)
    known = {workshop.zone.pid}
    for pid in sorted(int(path.name) for path in Path("/proc").glob("[0-9]*")):
        try:
            parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent in known:
            known.add(pid)
    return known
