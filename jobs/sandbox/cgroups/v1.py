"""cgroup v1, as Documentation/admin-guide/cgroup-v1/ of the kernel has it."""

from pathlib import Path

from jobs.sandbox.cgroups.tree import write

_PERIOD_US = 100_000
_QUOTA_MIN_US = 1_000
_SHARES_OF_A_PROCESS = 1024
_FORK_SERVER_AND_FIRST_PROCESS = 2


class Version1:
    """The Dialect of v1. Its kernel kills one process at an OOM and lets the others go on; the pool ends them."""

    oom_kills = ("memory.oom_control", "oom_kill")
    cpu_time = ("cpuacct.usage", "", 1e-9)

    def limit_memory(self, folder: Path, limit_bytes: int, *, leaf: bool) -> None:
        del leaf
        with_swap = folder / "memory.memsw.limit_in_bytes"  # never below the limit without swap
        if with_swap.exists():
            write(with_swap, "-1")
        write(folder / "memory.limit_in_bytes", str(limit_bytes))
        if with_swap.exists():
            write(with_swap, str(limit_bytes))

    def limit_pids(self, folder: Path, leaves: list[Path], pids: int) -> None:
        """The whole zone's: what is refused is counted in the group of who asked, whosever the limit was."""
        del leaves
        write(folder / "pids.max", str(pids + _FORK_SERVER_AND_FIRST_PROCESS))

    def limit_cpus(self, folder: Path, cpus: float | None) -> None:
        write(folder / "cpu.cfs_period_us", str(_PERIOD_US))
        quota = -1 if cpus is None else max(int(cpus * _PERIOD_US), _QUOTA_MIN_US)
        write(folder / "cpu.cfs_quota_us", str(quota))

    def weigh(self, folder: Path, processes: int) -> None:
        write(folder / "cpu.shares", str(_SHARES_OF_A_PROCESS * processes))

    def pids_folder(self, folder: Path, leaf: Path) -> Path:
        return leaf if (leaf / "pids.events").exists() else folder

    def hand_down(self, folder: Path, controllers: frozenset[str]) -> None:
        """Children have every controller of their tree."""
