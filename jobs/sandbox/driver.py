"""The sandbox driver: one mount broker, and zones built by bubblewrap with a fork server in each."""

import os
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from jobs.sandbox import seccomp
from jobs.sandbox.api import Sandbox, ZoneSpec
from jobs.sandbox.broker_client import Broker
from jobs.sandbox.launch import Blueprint, Program, SealedFile, launch
from jobs.sandbox.protocol import Limits
from jobs.sandbox.tenants import TenantUids
from jobs.sandbox.zone import ForkServerZone
from manta.core.errors import NotImplementedHere, SandboxUnavailable
from manta.core.limits import GIB, TASK_OPEN_FILES_MAX, TASK_PIDS_MAX

_PAGE_BYTES: Final = 4096
_SCRATCH_BYTES_PER_INODE: Final = 4096
_SCRATCH_INODES_MIN: Final = 1024
_ADDRESS_SPACE_FACTOR: Final = 4


def open_sandbox(
    blobs_dir: Path,
    state_dir: Path,
    *,
    store_uid: int | None = None,
    binds: Mapping[str, Path] | None = None,
    fork_server: str | None = None,
) -> Sandbox:
    """A driver over the volume whose blobs lie in `blobs_dir`; `state_dir` keeps the compiled fork server.

    `store_uid` owns the blobs, where the node runs as root and the store does not. `binds` maps paths in the zone to
    the host's, read-only. `fork_server` forces "c" or "python"; by default C where a compiler is found.
    """
    return NamespaceSandbox(blobs_dir, state_dir, store_uid=store_uid, binds=binds or {}, fork_server=fork_server)


class NamespaceSandbox:
    """The Sandbox of api.py, on Linux namespaces."""

    def __init__(
        self,
        blobs_dir: Path,
        state_dir: Path,
        *,
        store_uid: int | None,
        binds: Mapping[str, Path],
        fork_server: str | None,
    ) -> None:
        self._state_dir = state_dir
        self._binds = binds
        self._wanted = fork_server
        self._is_root = os.geteuid() == 0
        self._uids = TenantUids()
        self._broker = Broker(blobs_dir.resolve(), store_uid if self._is_root else None)
        self._blueprint: Blueprint | None = None

    async def start(self) -> None:
        self._blueprint = self._build()
        await self._broker.start()

    async def open_zone(self, spec: ZoneSpec) -> ForkServerZone:
        if self._blueprint is None:
            raise SandboxUnavailable("The sandbox was not started.")
        if spec.assets:
            raise NotImplementedHere("Assets are not implemented yet: put what the task needs into its exec or input.")
        uid = self._uids.uid(spec.tenant) if self._is_root else None
        try:
            launched = launch(self._blueprint, uid)
        except OSError as error:
            raise SandboxUnavailable(f"A zone cannot be started: {error}.") from None
        zone = ForkServerZone(spec, launched, limits_of(spec), self._broker.mount, uid)
        try:
            await zone.greet()
            await zone.initialize()
        except BaseException:
            await zone.close()
            raise
        return zone

    def describe(self) -> dict[str, object]:
        return {
            "driver": "bubblewrap, user namespaces, seccomp",
            "fork_server": self._blueprint.program.kind if self._blueprint else None,
            "identity": "a uid per account" if self._is_root else f"uid {os.geteuid()} for every account",
            "limits": {
                "timeout": "the task's first process is killed",
                "processes": "RLIMIT_NPROC in the zone's user namespace",
                "memory": "RLIMIT_DATA and RLIMIT_AS, per process; not the sum of a task's processes",
                "scratch": "size and inodes of the task's tmpfs, RLIMIT_FSIZE",
                "open files": "RLIMIT_NOFILE, per process",
                "cpu": "none",
            },
        }

    async def close(self) -> None:
        await self._broker.close()
        if self._blueprint is not None:
            for file in (self._blueprint.program.file, self._blueprint.zone_filter, self._blueprint.task_filter):
                file.close()
            self._blueprint = None

    def _build(self) -> Blueprint:
        bubblewrap = shutil.which("bwrap")
        if bubblewrap is None:
            raise SandboxUnavailable("bubblewrap is missing: install the package `bubblewrap`.")
        machine = platform.machine()
        source = Path(__file__).with_name("forkserver.py").read_bytes()
        program = Program("python", SealedFile("forkserver", source), ("/usr/bin/python3", "-I", "-S"))
        zone_filter = SealedFile("zone.bpf", seccomp.zone_filter(machine))
        task_filter = SealedFile("task.bpf", seccomp.task_filter(machine))
        return Blueprint(bubblewrap, program, zone_filter, task_filter, self._binds)


def limits_of(spec: ZoneSpec) -> Limits:
    """What the zone's tasks may use. Address space is wider than memory: programs reserve more than they touch."""
    return Limits(
        scratch=spec.scratch_bytes,
        scratch_inodes=max(spec.scratch_bytes // _SCRATCH_BYTES_PER_INODE, _SCRATCH_INODES_MIN),
        data=spec.memory_bytes,
        address=_ADDRESS_SPACE_FACTOR * spec.memory_bytes + GIB,
        file=spec.scratch_bytes + _PAGE_BYTES,  # a page more, so that a full scratch is ENOSPC, not a signal
        processes=TASK_PIDS_MAX,
        open_files=TASK_OPEN_FILES_MAX,
    )
