"""What a node has for tasks, what a phase asks for each of its own, and who has enough. Pure."""

from typing import Protocol

import msgspec

from manta.core.limits import MIB


class Needs(Protocol):
    """Of one task of a phase, or of a login session; without `cpus` it has its share of what is left."""

    @property
    def memory_bytes(self) -> int: ...

    @property
    def scratch_bytes(self) -> int: ...

    @property
    def cpus(self) -> float | None: ...


class Used(msgspec.Struct, frozen=True):
    """What tasks were promised together."""

    memory_bytes: int = 0
    scratch_bytes: int = 0
    cpus: float = 0.0

    def beside(self, needs: Needs) -> "Used":
        """With one task more."""
        return Used(
            self.memory_bytes + needs.memory_bytes,
            self.scratch_bytes + needs.scratch_bytes,
            self.cpus + (needs.cpus or 0.0),
        )


class Capacity(msgspec.Struct, frozen=True):
    """What a node has for tasks. Scratch is memory in the end, and has the same bound of its own."""

    memory_bytes: int
    cpus: float

    def holds(self, used: Used) -> bool:
        """Whether there is so much."""
        return (
            used.memory_bytes <= self.memory_bytes
            and used.scratch_bytes <= self.memory_bytes
            and used.cpus <= self.cpus
        )

    def shortage(self, needs: Needs) -> str | None:
        """Why such a task can never run there, in one sentence."""
        memory, cpus = self.memory_bytes, self.cpus
        if needs.memory_bytes > memory:
            return _too_little(f"{needs.memory_bytes // MIB} MiB of memory", f"{memory // MIB} MiB")
        if needs.scratch_bytes > memory:
            return _too_little(f"{needs.scratch_bytes // MIB} MiB of scratch (`disk`)", f"{memory // MIB} MiB")
        if (needs.cpus or 0.0) > cpus:
            return _too_little(f"{needs.cpus:g} cpus", f"{cpus:g}")
        return None


class Room:
    """What a node has beside what is `used`, as more begin to run there; endless where its capacity is not known."""

    def __init__(self, capacity: Capacity | None, used: Used) -> None:
        self._capacity = capacity
        self.used = used

    def fits(self, needs: Needs) -> bool:
        """Whether there is room for such a task."""
        return self._capacity is None or self._capacity.holds(self.used.beside(needs))

    def take(self, needs: Needs) -> bool:
        """Whether there is room for such a task, which has it from now on."""
        if not self.fits(needs):
            return False
        self.used = self.used.beside(needs)
        return True


def _too_little(wanted: str, there: str) -> str:
    return f"A task of the phase asks for {wanted}, and the node has {there}: ask for less."
