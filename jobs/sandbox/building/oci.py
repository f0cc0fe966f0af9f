"""The OCI driver's way to build a zone: a bundle, and the runtime's command line. The fork server inside is the same.

A bundle (OCI runtime specification 1.0, config.md) is a folder with `config.json` and the zone's root. The runtime runs
as the zone's own user from its first step, rootless, as bubblewrap does; its state lies in the bundle. It hands over
descriptors by `--preserve-fds`, which counts them from 3 on: so they are put there in order by a shell.
"""

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Final

from jobs.sandbox.api import ZONE_FOLDER
from jobs.sandbox.building.blueprint import Runtime
from jobs.sandbox.building.contents import (
    DEVICE_LINKS,
    DEVICES,
    ETC,
    FOLDERS,
    HOST_ETC,
    IMAGE_FOLDERS,
    SCRATCH_LINKS,
    TERMINAL_LINKS,
    TERMINALS_FOLDER,
    USR_LINKS,
)

_NAMESPACES: Final = ("user", "pid", "ipc", "uts", "mount", "network")
_CAPABILITIES: Final = ("CAP_SETFCAP", "CAP_SYS_ADMIN")
"""Inside the zone's user namespace: what the fork server needs to enclose itself in a second one, and its cgroup's."""
FIRST_DESCRIPTOR: Final = 3
_HIGH_DESCRIPTOR: Final = 64
_READ_ONLY: Final = ("bind", "ro", "nosuid", "nodev")
_RUN: Final = Path("/run")
_SHELL: Final = "/bin/bash"


@dataclass(frozen=True, slots=True)
class Content:
    """What a zone's root holds beside contents.py; paths of the zone, and the host's.

    `assets` are files, `workplaces` folders that may be written; these and `image`, the folder that is the root instead
    of the host's /usr, may lie where this process does not see them.
    """

    programs: Mapping[str, bytes] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    binds: Mapping[str, str] = field(default_factory=dict)
    assets: Mapping[str, str] = field(default_factory=dict)
    workplaces: Mapping[str, str] = field(default_factory=dict)
    image: str | None = None
    zone_folder_bytes: int = 0
    terminal: bool = False


def bundles_folder(state: Path) -> Path:
    """Where the bundles of a node with that state folder lie; as root where other users find the way."""
    name = f"zones-{sha256(bytes(state.resolve())).hexdigest()[:16]}"
    return _RUN / f"manta{name}" if os.geteuid() == 0 and os.access(_RUN, os.W_OK) else state / name


def make_bundle(runtime: Runtime, name: str, uid: int, command: list[str], content: Content) -> Path:
    """A new bundle whose zone runs `command` as that user. OSError."""
    bundle = runtime.bundles / name
    _folder(bundle)
    try:
        mounts = _Root(bundle / "rootfs").furnish(content)
        state = bundle / "state"
        state.mkdir(mode=0o700)
        if uid != os.geteuid():
            os.chown(state, uid, uid)
        _file(bundle / "config.json", json.dumps(_config(uid, command, content.image or "rootfs", mounts)).encode())
    except BaseException:
        shutil.rmtree(bundle, ignore_errors=True)
        raise
    return bundle


def run_command(runtime: Runtime, bundle: Path, descriptors: list[int]) -> list[str]:
    """Starts the zone with those descriptors as 3, 4, …; all of them must be `high` ones."""
    numbers = range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + len(descriptors))
    moves = " ".join(f"{number}<&{descriptor}-" for number, descriptor in zip(numbers, descriptors, strict=True))
    run = ["--root", str(bundle / "state"), "run", "--preserve-fds", str(len(descriptors)), "--bundle", str(bundle)]
    return [_SHELL, "-p", "-c", f'exec "$@" {moves}', "bash", runtime.path, *run, bundle.name]


def high(descriptor: int) -> int:
    """A duplicate that is in nobody's way when descriptors are put in order."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _HIGH_DESCRIPTOR)


def _config(uid: int, command: list[str], root: str, mounts: list[dict[str, object]]) -> dict[str, object]:
    own = [{"containerID": 0, "hostID": uid, "size": 1}]
    capabilities = {kind: list(_CAPABILITIES) for kind in ("bounding", "effective", "permitted")}
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": command,
            "env": ["PATH=/usr/bin:/bin"],
            "cwd": "/",
            "capabilities": capabilities,
            "noNewPrivileges": True,
        },
        "root": {"path": root, "readonly": True},
        "hostname": "zone",
        "mounts": mounts,
        "linux": {
            "uidMappings": own,
            "gidMappings": own,
            "namespaces": [{"type": kind} for kind in _NAMESPACES],
            "rootfsPropagation": "rprivate",
        },
    }


class _Root:
    """A zone's root being made, with every mount point, since the runtime may make none there; and its mounts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mounts: list[dict[str, object]] = []
        _folder(folder)

    def furnish(self, content: Content) -> list[dict[str, object]]:
        """The mounts, in order. For an image, only what the zone brings along is made, and bound over the image."""
        if content.image is None:
            self._usr()
            self._etc()
            for name in FOLDERS:
                _folder(self._inside(name))
            self._link(SCRATCH_LINKS)
        for name in ("/dev",) if content.image is None else ("/dev", *IMAGE_FOLDERS):
            _folder(self._inside(name))  # with a /dev that is bound, a runtime adds nothing to it
            self._mount(name, "bind", str(self._folder / name[1:]), "bind", "ro", "nosuid")
        self._link({**DEVICE_LINKS, **content.links, **(TERMINAL_LINKS if content.terminal else {})})
        if content.terminal:
            _folder(self._inside(TERMINALS_FOLDER))
        _folder(self._inside("/proc"))
        self._mount("/proc", "proc", "proc", "nosuid", "nodev", "noexec")
        for name in (*DEVICES, "tty") if content.terminal else DEVICES:
            self._bind_file(f"/dev/{name}", f"/dev/{name}", "bind", "nosuid", "noexec")
        self._bring(content)
        return self._mounts

    def _bring(self, content: Content) -> None:
        for path, data in content.programs.items():
            _file(self._inside(path), data, 0o555)
        for inside, outside in content.binds.items():
            self._bind(inside, outside)
        for inside, outside in content.assets.items():
            self._bind_file(inside, outside, *_READ_ONLY)
        for inside, outside in content.workplaces.items():
            _folder(self._inside(inside))
            self._mount(inside, "bind", outside, "bind", "rw", "nosuid", "nodev")
        if content.zone_folder_bytes:
            size = f"size={content.zone_folder_bytes}"
            self._mount(ZONE_FOLDER, "tmpfs", "tmpfs", "nosuid", "nodev", "mode=0755", size)

    def _usr(self) -> None:
        self._bind("/usr", "/usr")
        for name in (f"/{name}" for name in USR_LINKS):
            if Path(name).is_symlink():
                self._inside(name).symlink_to(Path(name).readlink())
            elif Path(name).is_dir():
                self._bind(name, name)

    def _etc(self) -> None:
        for name, data in ETC.items():
            _file(self._inside(f"/etc/{name}"), data)
        for path in (f"/etc/{name}" for name in HOST_ETC):
            if Path(path).exists():
                self._bind(path, path)

    def _link(self, links: Mapping[str, str]) -> None:
        for path, target in links.items():
            self._inside(path).symlink_to(target)

    def _bind(self, inside: str, outside: str) -> None:
        if Path(outside).is_dir():
            _folder(self._inside(inside))
            self._mount(inside, "bind", outside, *_READ_ONLY)
        else:
            self._bind_file(inside, outside, *_READ_ONLY)

    def _bind_file(self, inside: str, outside: str, *options: str) -> None:
        _file(self._inside(inside), b"")
        self._mount(inside, "bind", outside, *options)

    def _mount(self, inside: str, kind: str, source: str, *options: str) -> None:
        self._mounts.append({"destination": inside, "type": kind, "source": source, "options": list(options)})

    def _inside(self, path: str) -> Path:
        """Where that path of the zone lies on the host; its folder is made."""
        parts = PurePosixPath(path).parts
        if parts[0] != "/" or ".." in parts:
            raise OSError(errno.EINVAL, "no path of a zone", path)
        for depth in range(2, len(parts)):
            folder = self._folder.joinpath(*parts[1:depth])
            if not folder.is_dir():
                _folder(folder)
        return self._folder.joinpath(*parts[1:])


def _folder(path: Path) -> None:
    path.mkdir(exist_ok=True)
    path.chmod(0o755)  # the agent's umask may be a strict one


def _file(path: Path, data: bytes, mode: int = 0o444) -> None:
    path.write_bytes(data)
    path.chmod(mode)
