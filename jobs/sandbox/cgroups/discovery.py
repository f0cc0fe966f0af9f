"""Which cgroup trees this process may make groups in, and which controllers they offer: v1, v2 or both at once.

A node makes groups below its own group only (cgroups(7): /proc/self/cgroup names it), so that limits set for it from
outside keep holding for its tasks, and nothing of anybody else is touched.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MEMORY: Final = "memory"
PIDS: Final = "pids"
CPU: Final = "cpu"
CPU_TIME: Final = "cpuacct"
CONTROLLERS: Final = (MEMORY, PIDS, CPU, CPU_TIME)
"""v2 has no cpuacct: there each group has its cpu time, without a controller."""
SETTLED: Final = "manta-processes"
"""The leaf into which a manta process moves itself, so that its v2 group may hand controllers to its children."""


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted cgroup tree: `root` is the group that appears at `point`."""

    version: int
    root: str
    point: str
    controllers: frozenset[str]


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of this process's own group in one tree, and what the tree controls."""

    version: int
    folder: Path
    controllers: frozenset[str]


@dataclass(frozen=True, slots=True)
class Survey:
    """`places` to make groups in, each controller in one of them; `missing` says why of every other controller."""

    places: tuple[Place, ...]
    missing: dict[str, str]

    @property
    def holds(self) -> frozenset[str]:
        return frozenset().union(*(place.controllers for place in self.places))

    def version_of(self, controller: str) -> int | None:
        return next((place.version for place in self.places if controller in place.controllers), None)


def survey(cgroup_text: str | None = None, mountinfo_text: str | None = None) -> Survey:
    """What this process may use; the texts are those of /proc/self, if not given."""
    cgroup_text = Path("/proc/self/cgroup").read_text() if cgroup_text is None else cgroup_text
    mountinfo_text = Path("/proc/self/mountinfo").read_text() if mountinfo_text is None else mountinfo_text
    places, missing = [], dict.fromkeys(CONTROLLERS, "no cgroup tree has it")
    for place in own_places(cgroup_text, mountinfo_text):
        refusal = _refusal(place)
        controllers = _offered(place) & missing.keys()
        if refusal is not None:
            missing.update(dict.fromkeys(controllers, refusal))
        elif controllers:
            places.append(Place(place.version, place.folder, frozenset(controllers)))
            for controller in controllers:
                del missing[controller]
    return Survey(tuple(places), missing)


def own_places(cgroup_text: str, mountinfo_text: str) -> list[Place]:
    """This process's own group in each mounted tree, v1 first: what is mounted there is not to be had in v2. Pure."""
    places = []
    mounts = _mounts(mountinfo_text)
    for line in cgroup_text.splitlines():
        _, names, path = line.split(":", 2)
        controllers = frozenset(filter(None, names.split(",")))
        for mount in mounts:
            if mount.version == (1 if controllers else 2) and controllers <= mount.controllers | {""}:
                folder = _folder(mount, path)
                if folder is not None:
                    places.append(Place(mount.version, folder, controllers))
                    break
    return sorted(places, key=lambda place: place.version)


def _mounts(mountinfo_text: str) -> list[Mount]:
    """Of proc(5)'s mountinfo: root and mount point come before the dash, type and the tree's own options after it."""
    mounts = []
    for line in mountinfo_text.splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(), after.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            version = 1 if kind == "cgroup" else 2
            root, point = map(_unescaped, fields[3:5])
            mounts.append(Mount(version, root, point, frozenset(options.split(","))))
    return mounts


def _unescaped(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)


def _folder(mount: Mount, path: str) -> Path | None:
    """Where the group appears below the mount; None when it lies outside of what is mounted."""
    root = mount.root.rstrip("/")
    if ".." in path.split("/") or not (path == root or path.startswith(root + "/")):
        return None
    return Path(mount.point + path[len(root) :])


def _offered(place: Place) -> set[str]:
    if place.version == 1:
        return set(place.controllers) & set(CONTROLLERS)
    try:
        available = (place.folder / "cgroup.controllers").read_text().split()
    except OSError:
        return set()
    return {CPU_TIME, *(controller for controller in available if controller in CONTROLLERS)}


def _refusal(place: Place) -> str | None:
    """Why no groups can be made there: tried, since rights, read-only mounts and v2's rules all have a say."""
    try:
        if place.version == 2 and _needs_room(place.folder):
            return f"{place.folder} holds other processes than the node's, so v2 lets it have no groups with limits"
        trial = base_folder(place) / f"manta-trial.{os.getpid()}"
        trial.mkdir()
        trial.rmdir()
    except OSError as error:
        return f"no right to make groups in {place.folder}: {error.strerror}"
    if place.version == 2 and not os.access(base_folder(place) / "cgroup.subtree_control", os.W_OK):
        return f"{place.folder} is not delegated"
    return None


def base_folder(place: Place) -> Path:
    """Where the node's groups go: beside the leaf in which manta's processes live, if they have moved into one."""
    return place.folder.parent if place.folder.name == SETTLED else place.folder


def _needs_room(folder: Path) -> bool:
    """Whether v2's rule (no processes in a group with controlled children) is in the way, and strangers with it."""
    if folder.name == SETTLED or not (folder / "cgroup.type").exists():  # the tree's root is exempt
        return False
    return not set(processes(folder)) <= own_processes()


def processes(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "cgroup.procs").read_text().split()]


def own_processes() -> set[int]:
    """This process and its children: what it may move."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    return {os.getpid(), *_numbers(children)}


def _numbers(file: Path) -> Iterable[int]:
    try:
        return [int(word) for word in file.read_text().split()]
    except OSError:
        return []
