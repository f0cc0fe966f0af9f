"""Whose a folder outside the data folder is, so that a dead process's is known and a living one's left alone."""

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True, slots=True)
class Owner:
    """A process of a pid namespace, by its number and start time; `tag` is of what it serves, the same each time."""

    tag: str
    namespace: int
    pid: int
    started: int

    @classmethod
    def own(cls, tag: str) -> "Owner":
        return cls(tag, Path("/proc/self/ns/pid").stat().st_ino, os.getpid(), _start_of(os.getpid()))

    @classmethod
    def of(cls, name: str) -> "Owner | None":
        words = name.split(".")
        if len(words) != 6 or words[0] != "manta" or not all(word.isdecimal() for word in words[2:]):
            return None
        return cls(words[1], *map(int, words[2:5]))

    def name(self, number: int) -> str:
        return f"manta.{self.tag}.{self.namespace}.{self.pid}.{self.started}.{number}"

    def is_dead(self, other: "Owner") -> bool:
        """Whether `other` is gone; one of another pid namespace can only be judged if it was this very node."""
        if other.namespace == self.namespace:
            return _start_of(other.pid) != other.started
        return other.tag == self.tag


_OWNER_FILE: Final = "owner"


def claim_folder(folder: Path, tag: str, mode: int, siblings: str) -> None:
    """Makes the folder anew for this process, and removes those that `siblings` (a glob) finds beside it whose owners
    are dead. One that says of no owner, or of one that may live, is left alone."""
    for other in folder.parent.glob(siblings):
        if other != folder and _is_abandoned(other, Owner.own(tag)):
            shutil.rmtree(other, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    (folder / _OWNER_FILE).write_text(Owner.own(tag).name(0))
    folder.chmod(mode)


def _is_abandoned(folder: Path, judge: Owner) -> bool:
    """Only of folders of this very user: nobody else may have us believe or remove anything."""
    with contextlib.suppress(OSError, ValueError):
        if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
            return False
        owner = Owner.of((folder / _OWNER_FILE).read_text())
        return owner is not None and judge.is_dead(owner)
    return False


def _start_of(pid: int) -> int:
    """In clock ticks since boot, so that a pid used again is told apart (proc(5)); 0 when there is none.

    One that has ended and that nobody has waited for yet is none: of an orphan that may be so for ever.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in ("Z", "X") else int(fields[19])
