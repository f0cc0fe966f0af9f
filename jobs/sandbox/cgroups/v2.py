"""cgroup v2, as Documentation/admin-guide/cgroup-v2.rst of the kernel has it."""

from contextlib import suppress
from pathlib import Path

from jobs.sandbox.cgroups.tree import write

_PERIOD_US = 100_000
_QUOTA_MIN_US = 1_000
_WEIGHT_OF_A_PROCESS = 100
_WEIGHT_MAX = 10_000
_FIRST_PROCESS = 1
_BESIDE_THE_TASK = 8


class Version2:
    """The Dialect of v2. Its kernel ends the whole group at an OOM (memory.oom.group)."""

    oom_kills = ("memory.events", "oom_kill")
    cpu_time = ("cpu.stat", "usage_usec", 1e-6)

    def limit_memory(self, folder: Path, limit_bytes: int, *, leaf: bool) -> None:
        write(folder / "memory.max", str(limit_bytes))
        with suppress(FileNotFoundError):  # a kernel without swap
            write(folder / "memory.swap.max", "0")
        if leaf:
            write(folder / "memory.oom.group", "1")

    def limit_pids(self, folder: Path, leaves: list[Path], pids: int) -> None:
        """In the leaves, where kernels of every age count what was refused."""
        write(folder / "pids.max", str(pids + _BESIDE_THE_TASK))
        for leaf in leaves:
            write(leaf / "pids.max", str(pids + _FIRST_PROCESS))

    def limit_cpus(self, folder: Path, cpus: float | None) -> None:
        quota = "max" if cpus is None else str(max(int(cpus * _PERIOD_US), _QUOTA_MIN_US))
        write(folder / "cpu.max", f"{quota} {_PERIOD_US}")

    def weigh(self, folder: Path, processes: int) -> None:
        write(folder / "cpu.weight", str(min(_WEIGHT_OF_A_PROCESS * processes, _WEIGHT_MAX)))

    def pids_folder(self, folder: Path, leaf: Path) -> Path:
        return leaf if leaf.exists() else folder

    def hand_down(self, folder: Path, controllers: frozenset[str]) -> None:
        if controllers:
            write(folder / "cgroup.subtree_control", " ".join(f"+{name}" for name in sorted(controllers)))
