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


class Capacity(msgspec.Struct, frozen=True):
    """What a node has for tasks. Scratch is memory in the end, and has the same bound of its own."""

    memory_bytes: int
    cpus: float

    def shortage(self, needs: Needs) -> str | None:
        """Why such a task can never run there, in one sentence."""
        memory, cpus = self.memory_bytes, self.cpus
        if needs.memory_bytes > memory:
            return _too_little("memory", f"{needs.memory_bytes // MIB} MiB", f"{memory // MIB} MiB")
        if needs.scratch_bytes > memory:
            return _too_little("scratch (`disk`)", f"{needs.scratch_bytes // MIB} MiB", f"{memory // MIB} MiB")
        if (needs.cpus or 0.0) > cpus:
            return _too_little("cpus", f"{needs.cpus:g}", f"{cpus:g}")
        return None


def _too_little(what: str, wanted: str, there: str) -> str:
    return f"A task of the phase asks for {wanted} of {what}, and the node has {there}: ask for less."
