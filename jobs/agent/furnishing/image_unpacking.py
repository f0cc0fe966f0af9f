"""Unpacking an image inside a zone, by a program that is handed the archive and one folder to write (S6)."""

import asyncio
import contextlib
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from jobs.agent.streams.pipes import TailPipe
from jobs.programs.install import UNPACK_COMMAND, interpreter, unpacker
from jobs.sandbox.api import ASSETS_FOLDER, Overrun, Sandbox, TaskEnd, TaskSpec, Zone, ZoneSpec
from jobs.sandbox.building.contents import IMAGE_MOUNT_POINTS
from manta.core.errors import ServiceUnavailable
from manta.core.limits import (
    IMAGE_CONFIG_MAX_BYTES,
    IMAGE_ENTRIES_MAX,
    IMAGE_ENV_MAX_BYTES,
    IMAGE_MAX_BYTES,
    IMAGE_UNPACK_MEMORY_BYTES,
    IMAGE_UNPACK_S,
    MIB,
    STDERR_IN_ERROR_BYTES,
)

_TENANT: Final = " images"
"""No account has this name: what is unpacked belongs to a user of its own."""
_ARCHIVE: Final = f"{ASSETS_FOLDER}/archive"
_TARGET: Final = "/unpacked"
_BAD_ARCHIVE: Final = 1
_LACKING: Final = 3


class BadImageError(Exception):
    """Why the archive cannot be unpacked, as the end of a sentence.

    `lasting`: whatever else the node has to do. `too_large`: for the bytes that it was given.
    """

    def __init__(self, why: str, *, lasting: bool = True, too_large: bool = False) -> None:
        super().__init__(why)
        self.lasting = lasting
        self.too_large = too_large


class Facts(msgspec.Struct, frozen=True):
    """What the unpacker says of an image."""

    env: tuple[str, ...]
    workdir: str
    bytes: int
    entries: int
    boot: str = ""
    """Of the machine, when it was unpacked: after a power cut nobody knows what of it reached the disk."""


async def unpack(sandbox: Sandbox, name: str, archive: Path, target: Path, bytes_max: int) -> Facts:
    """What is in `archive`, at most so many bytes, into the folder `target`. BadImageError; the node's own errors."""
    zone = await sandbox.open_zone(
        ZoneSpec(
            name=name,
            tenant=_TENANT,
            memory_bytes=IMAGE_UNPACK_MEMORY_BYTES,
            scratch_bytes=MIB,
            assets={_ARCHIVE: str(archive)},
            workplaces={_TARGET: str(target)},
        )
    )
    try:
        arguments = (_ARCHIVE, _TARGET, str(bytes_max), str(IMAGE_ENTRIES_MAX), platform.machine())
        env = {"LANG": "C.UTF-8", "PYTHON": interpreter(), "UNPACKER": unpacker(), "ARGUMENTS": " ".join(arguments)}
        end, said, complained = await _heard(zone, env)
    finally:
        await zone.close()
    return _facts_of(end, said, complained.decode("utf-8", "replace").strip(), bytes_max)


async def _heard(zone: Zone, env: Mapping[str, str]) -> tuple[TaskEnd, bytes, bytes]:
    """How the program ended, what it said, and of what it complained."""
    loop = asyncio.get_running_loop()
    with (
        contextlib.closing(TailPipe(loop, IMAGE_CONFIG_MAX_BYTES)) as out,
        contextlib.closing(TailPipe(loop, STDERR_IN_ERROR_BYTES)) as err,
    ):
        end = await zone.run(TaskSpec(UNPACK_COMMAND, env, IMAGE_UNPACK_S, out.write_fd, err.write_fd))
        return end, out.finish(), err.finish()


def _facts_of(end: TaskEnd, said: bytes, complained: str, bytes_max: int) -> Facts:
    if end.exit_status == 0 and end.overrun is None:
        with contextlib.suppress(msgspec.MsgspecError):
            facts = msgspec.json.decode(said, type=Facts)
            if sum(len(one.encode()) for one in (*facts.env, facts.workdir)) > IMAGE_ENV_MAX_BYTES:
                raise BadImageError(f"its environment has more than {IMAGE_ENV_MAX_BYTES} bytes")
            if 0 <= facts.bytes <= IMAGE_MAX_BYTES and 0 <= facts.entries <= IMAGE_ENTRIES_MAX:
                return facts
        raise BadImageError("its configuration is odd, or too long")
    if end.overrun is Overrun.TIMEOUT:
        raise BadImageError(f"that took longer than {IMAGE_UNPACK_S:.0f} s", lasting=False)
    if end.overrun is Overrun.MEMORY:
        raise BadImageError(f"that needed more than {IMAGE_UNPACK_MEMORY_BYTES // MIB} MiB of memory")
    if end.exit_status == _BAD_ARCHIVE and complained:
        raise BadImageError(complained.splitlines()[-1], too_large=complained.endswith(f"more than {bytes_max} bytes"))
    if end.exit_status == _LACKING and complained:
        raise BadImageError(complained.splitlines()[-1], lasting=False)
    raise ServiceUnavailable(f"The image could not be unpacked on this node: {complained or end}.")


def check_mount_points(root: Path) -> None:
    """Whoever unpacked was in the hands of the archive: a link would lead a zone's mounts out of the image."""
    for name in IMAGE_MOUNT_POINTS:
        try:
            os.close(os.open(root / name[1:], os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC))
        except OSError:
            raise BadImageError(f"it has something else in the place of the folder {name}") from None
