"""How a zone is built: the bubblewrap command line, the zone's root, and the start of its first process."""

import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from jobs.sandbox.api import ZONE_FOLDER
from jobs.sandbox.roots import host_root, image_end, image_root

_UNSHARE: Final = ("user", "ipc", "pid", "net", "uts", "cgroup")
_ETC: Final = {
    "passwd": b"root:x:0:0:root:/scratch:/bin/bash\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
    "group": b"root:x:0:\nnogroup:x:65534:\n",
    "hosts": b"127.0.0.1 localhost\n::1 localhost\n",
    "nsswitch.conf": b"passwd: files\ngroup: files\nhosts: files\n",
}
_SEALS: Final = 0x1 | 0x2 | 0x4 | 0x8  # F_SEAL_SEAL, SHRINK, GROW, WRITE
_F_ADD_SEALS: Final = 1033


class SealedFile:
    """Bytes in memory that nobody can change any more; zones get it by descriptor, so no path of the host is needed."""

    def __init__(self, name: str, content: bytes) -> None:
        self.descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.write(self.descriptor, content)
        fcntl.fcntl(self.descriptor, _F_ADD_SEALS, _SEALS)

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

    def command(self, descriptor: int, channel: int, filter_descriptor: int, joins: "Joins") -> list[str]:
        numbers = (channel, filter_descriptor, joins.task, joins.init, *joins.server)
        return [*self.interpreter, f"/proc/self/fd/{descriptor}", *map(str, numbers)]


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
class Blueprint:
    """What every zone of this driver has in common. `binds` maps a path in the zone to the host's, read-only.

    `programs` are executable files by their path in the zone, `links` symbolic links to their targets.
    """

    bubblewrap: str
    program: Program
    zone_filter: SealedFile
    task_filter: SealedFile
    binds: Mapping[str, Path] = field(default_factory=dict)
    programs: Mapping[str, SealedFile] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stage:
    """Shows `folder`, which is closed to other users, at `place` to the zone being built (stage.py)."""

    program: SealedFile
    folder: str
    place: str

    def seen(self, path: str) -> str:
        """Where a file of the folder is found on the stage."""
        return self.place + path.removeprefix(self.folder)

    def command(self, descriptor: int, uid: int) -> list[str]:
        script = f"/proc/self/fd/{descriptor}"
        return [sys.executable, "-I", "-S", script, str(descriptor), str(uid), self.folder, self.place]


@dataclass(frozen=True, slots=True)
class Interior:
    """What one zone has beside the blueprint: a folder for init's results if that has a size, and files of the host.

    With a `stage` assets, image and workplaces are reached by way of it. `terminal`: there is a /dev/tty.
    """

    joins: Joins
    zone_folder_bytes: int = 0
    binds: Mapping[str, str] = field(default_factory=dict)
    assets: Mapping[str, str] = field(default_factory=dict)
    image: str | None = None
    workplaces: Mapping[str, str] = field(default_factory=dict)
    stage: Stage | None = None
    terminal: bool = False

    def seen(self, path: str) -> str:
        return path if self.stage is None else self.stage.seen(path)


@dataclass(frozen=True, slots=True)
class Launched:
    """A zone's process (bubblewrap), the agent's end of its channel, and the pipe where bubblewrap complains."""

    process: "subprocess.Popen[bytes]"
    channel: socket.socket
    complaints: int


def launch(blueprint: Blueprint, uid: int | None, interior: Interior) -> Launched:
    """Starts a zone; with `uid`, as that user.

    Call it on a thread that outlives the zone: the zone dies with it.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    complaints, their_stderr = os.pipe()
    opened: list[int] = [theirs.detach(), their_stderr]
    try:
        arguments = _arguments(blueprint, interior, opened[0], opened)
        if interior.stage is not None and uid is not None:
            opened.append(interior.stage.program.open())
            arguments = interior.stage.command(opened[-1], uid) + arguments
            uid = None
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=their_stderr,
            stderr=their_stderr,
            pass_fds=[
                *interior.joins.descriptors,
                *(descriptor for descriptor in opened if descriptor != their_stderr),
            ],
            cwd="/",
            env={},
            start_new_session=True,
            user=uid,
            group=uid,
            extra_groups=None if uid is None else (),
        )
    except OSError:
        ours.close()
        os.close(complaints)
        raise
    finally:
        for descriptor in opened:
            os.close(descriptor)
    os.set_blocking(complaints, False)
    return Launched(process, ours, complaints)


def _arguments(blueprint: Blueprint, interior: Interior, channel: int, opened: list[int]) -> list[str]:
    """The command line; descriptors it names are added to `opened`, for the caller to pass on and close."""

    def passed(file: SealedFile) -> int:
        opened.append(file.open())
        return opened[-1]

    arguments = [blueprint.bubblewrap, *(f"--unshare-{kind}" for kind in _UNSHARE)]
    arguments += ["--uid", "0", "--gid", "0", "--cap-add", "ALL", "--die-with-parent", "--as-pid-1"]
    # A second user namespace under the one that owns the zone's mounts: a taken-over fork server cannot change those.
    arguments += ["--disable-userns"]
    arguments += ["--clearenv", "--hostname", "zone", "--chdir", "/"]
    if interior.image is not None:
        arguments += image_root(interior.seen(interior.image))
    else:
        arguments += host_root(blueprint.binds)
        for name, content in _ETC.items():
            file = SealedFile(name, content)
            arguments += ["--perms", "0444", "--file", str(passed(file)), f"/etc/{name}"]
            file.close()
    for path, program_file in blueprint.programs.items():
        arguments += ["--perms", "0555", "--file", str(passed(program_file)), path]
    for path, target in blueprint.links.items():
        arguments += ["--symlink", target, path]
    if interior.terminal:
        arguments += ["--dev-bind", "/dev/tty", "/dev/tty"]
    for inside, outside in interior.binds.items():
        arguments += ["--ro-bind", outside, inside]
    for inside, outside in interior.assets.items():
        arguments += ["--ro-bind", interior.seen(outside), inside]
    for inside, outside in interior.workplaces.items():
        arguments += ["--bind", interior.seen(outside), inside]
    if interior.zone_folder_bytes:
        arguments += ["--size", str(interior.zone_folder_bytes), "--tmpfs", ZONE_FOLDER]
    arguments += image_end() if interior.image is not None else []
    arguments += ["--remount-ro", "/", "--seccomp", str(passed(blueprint.zone_filter)), "--"]
    program = passed(blueprint.program.file)
    return arguments + blueprint.program.command(program, channel, passed(blueprint.task_filter), interior.joins)
