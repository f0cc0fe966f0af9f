"""What a zone is built of: sealed files, the fork server, what all zones of a driver share and what one has beside."""

import fcntl
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_SEALS: Final = 0x1 | 0x2 | 0x4 | 0x8  # F_SEAL_SEAL, SHRINK, GROW, WRITE
_F_ADD_SEALS: Final = 1033


class SealedFile:
    """Bytes in memory that nobody can change any more; zones get it by descriptor, so no path of the host is needed."""

    def __init__(self, name: str, content: bytes) -> None:
        self.descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.write(self.descriptor, content)
        fcntl.fcntl(self.descriptor, _F_ADD_SEALS, _SEALS)

    @property
    def content(self) -> bytes:
        return os.pread(self.descriptor, os.fstat(self.descriptor).st_size, 0)

    def open(self) -> int:
        """A descriptor of its own, at offset 0."""
        return os.open(f"/proc/self/fd/{self.descriptor}", os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self.descriptor)


@dataclass(frozen=True, slots=True)
class Program:
    """The fork server: its sealed file, and the interpreter that runs it (none when it is an executable itself).

    `stands_alone`: it needs no other file, so that it runs in any root.
    """

    kind: str
    file: SealedFile
    interpreter: tuple[str, ...] = ()
    stands_alone: bool = False

    def command(
        self, descriptor: int, channel: int, filter_descriptor: int, joins: "Joins", zone_filter: int | None = None
    ) -> list[str]:
        """With `zone_filter` it encloses itself: for a zone whose builder does not."""
        enclosing = () if zone_filter is None else ("--enclose", str(zone_filter))
        numbers = (channel, filter_descriptor, joins.task, joins.init, *joins.server)
        return [*self.interpreter, f"/proc/self/fd/{descriptor}", *enclosing, *map(str, numbers)]


@dataclass(frozen=True, slots=True)
class Joins:
    """Descriptors by which a zone joins its control groups: the task's, init's (-1 for none), the fork server's."""

    task: int = -1
    init: int = -1
    server: tuple[int, ...] = ()

    @property
    def descriptors(self) -> list[int]:
        return [descriptor for descriptor in (self.task, self.init, *self.server) if descriptor >= 0]


@dataclass(frozen=True, slots=True)
class Runtime:
    """An OCI runtime by its path, and the folder for bundles, where every zone's user finds the way."""

    path: str
    bundles: Path


@dataclass(frozen=True, slots=True)
class Blueprint:
    """What every zone of this driver has in common. `binds` maps a path in the zone to the host's, read-only.

    `programs` are executable files by their path in the zone, `links` symbolic links to their targets. `builder` is
    bubblewrap's path, or an OCI runtime.
    """

    builder: str | Runtime
    program: Program
    zone_filter: SealedFile
    task_filter: SealedFile
    stage_hand: "StageHand"
    binds: Mapping[str, Path] = field(default_factory=dict)
    programs: Mapping[str, SealedFile] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stage:
    """A `folder` which is closed to other users is shown at `place` to the zone being built."""

    folder: str = ""
    place: str = ""

    def seen(self, path: str) -> str:
        """Where a file of the folder is found on the stage."""
        return self.place + path.removeprefix(self.folder)


@dataclass(frozen=True, slots=True)
class StageHand:
    """The program that becomes a zone's user, and shows the zone its stage before that (stage.py)."""

    file: SealedFile
    interpreter: tuple[str, ...] = ()

    def command(self, descriptor: int, uid: int, stage: Stage) -> list[str]:
        """To be followed by the command that is run as that user."""
        program = f"/proc/self/fd/{descriptor}"
        return [*self.interpreter, program, str(descriptor), str(uid), stage.folder, stage.place]


@dataclass(frozen=True, slots=True)
class Interior:
    """What one zone has beside the blueprint: a folder for init's results if that has a size, and files of the host.

    With a `stage` assets, image and workplaces are reached by way of it. `terminal`: there is a /dev/tty.
    """

    joins: Joins
    zone_folder_bytes: int = 0
    binds: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    assets: Mapping[str, str] = field(default_factory=dict)
    image: str | None = None
    workplaces: Mapping[str, str] = field(default_factory=dict)
    stage: Stage | None = None
    terminal: bool = False

    def seen(self, path: str) -> str:
        return path if self.stage is None else self.stage.seen(path)
