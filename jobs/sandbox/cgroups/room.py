"""Room for groups in v2: a group whose children have limits may hold no processes itself (cgroups(7)).

So whoever owns a delegated group moves its own processes into a leaf of it first. A node does that for itself. The
supervisor does it before it starts its nodes: they find themselves in the leaf, and make their groups beside it.
"""

from contextlib import suppress
from pathlib import Path

from jobs.sandbox.cgroups.discovery import CPU_TIME, SETTLED, Place, base_folder, own_processes, processes, survey
from jobs.sandbox.cgroups.tree import write
from jobs.sandbox.cgroups.v2 import Version2


def settle() -> None:
    """For a supervisor, before it starts nodes: does nothing where there is no need or no right."""
    for place in survey().places:
        if place.version == 2:
            with suppress(OSError):
                make_room(place)


def make_room(place: Place) -> bool:
    """Lets groups with limits be made in the place's base folder; True if this process moved for it. OSError if not."""
    base = base_folder(place)
    wanted = place.controllers - {CPU_TIME} - set((base / "cgroup.subtree_control").read_text().split())
    if not wanted:
        return False
    has_to_move = base == place.folder and (base / "cgroup.type").exists()
    if has_to_move:
        _move(base, base / SETTLED)
    Version2().hand_down(base, wanted)
    return has_to_move


def give_up_room(base: Path) -> None:
    """Undoes make_room, unless others live by it by now."""
    with suppress(OSError):
        handed = (base / "cgroup.subtree_control").read_text().split()
        write(base / "cgroup.subtree_control", " ".join(f"-{name}" for name in handed))
        _move(base / SETTLED, base)
        (base / SETTLED).rmdir()


def _move(source: Path, target: Path) -> None:
    """This process and its children, nobody else."""
    target.mkdir(exist_ok=True)
    for pid in set(processes(source)) & own_processes():
        with suppress(ProcessLookupError):
            write(target / "cgroup.procs", str(pid))
