"""Whose groups a folder holds, told by its name, so that a dead node's are known and a living one's left alone."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a folder of groups is, as its name says: a process of a pid namespace, by its number and start time."""

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


def _start_of(pid: int) -> int:
    """In clock ticks since boot, so that a pid used again is told apart (proc(5)); 0 when there is none."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return 0
