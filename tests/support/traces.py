"""What stores leave on a machine outside their data folders: processes, control groups, folders below /run, mounts.

Seen from the whole machine, not from a process downward: what a killed process leaves belongs to init.
"""

import contextlib
import os
from hashlib import sha256
from pathlib import Path

from manta.core.owner import Owner

_GROUPS = Path("/sys/fs/cgroup")
_RUN = Path("/run")


def marked(*marks: str) -> list[int]:
    """Processes of this machine whose environment has one of these words in it, whoever started them."""
    wanted = [os.fsencode(mark) for mark in marks]
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            environment = (folder / "environ").read_bytes()
            if any(mark in environment for mark in wanted):
                found.append(int(folder.name))
    return found


def traces(data: Path) -> list[Path]:
    """Control groups and folders of the nodes of the store in `data`, whether they run or were killed."""
    return [*_groups(data), *_folders(data)]


def abandoned(data: Path) -> list[Path]:
    """Those of them whose node is dead."""
    judge = Owner.own("")
    found = []
    for path in traces(data):
        name = path.name
        if path.parent == _RUN:
            with contextlib.suppress(OSError):
                name = (path / "owner").read_text()
        owner = Owner.of(name)
        if path.exists() and (owner is None or judge.is_dead(owner)):
            found.append(path)
    return found


def mounts(data: Path) -> list[str]:
    """What is mounted on this machine, as its other processes see it, that has to do with that store."""
    names = [str(data), *map(str, _run_names(data))]
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if any(one in line for one in names)]


def _groups(data: Path) -> list[Path]:
    tags = {_digest(folder / "sandbox", 12) for folder in _nodes(data)}
    found = []
    for here, names, _ in os.walk(_GROUPS):
        ours = [name for name in names if (owner := Owner.of(name)) is not None and owner.tag in tags]
        found += [Path(here, name) for name in ours]
        names[:] = [name for name in names if not name.startswith("manta.")]
    return found


def _folders(data: Path) -> list[Path]:
    return [path for path in _run_names(data) if path.exists()]


def _run_names(data: Path) -> list[Path]:
    doors = [_RUN / f"manta-{_digest(folder, 16)}" for folder in _nodes(data)]
    return doors + [_RUN / f"mantazones-{_digest(folder / 'sandbox', 16)}" for folder in _nodes(data)]


def _nodes(data: Path) -> list[Path]:
    return sorted((data / "nodes").iterdir())


def _digest(folder: Path, digits: int) -> str:
    return sha256(bytes(folder.resolve())).hexdigest()[:digits]
