"""The sandbox driver: one mount broker, and zones built by bubblewrap or an OCI runtime, a fork server in each."""

import os
import platform
import shutil
import tempfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

from jobs.sandbox.api import TaskSpec, ZoneInitError, ZoneSpec
from jobs.sandbox.bounds import group_limits_of, limits_of, means, scratch_bytes_of
from jobs.sandbox.building.blueprint import Blueprint, Interior, Joins, Runtime, SealedFile, Stage
from jobs.sandbox.building.builders import BUBBLEWRAP, BuilderChoice
from jobs.sandbox.building.launch import launch
from jobs.sandbox.building.oci import bundles_folder
from jobs.sandbox.cgroups import ControlGroups, ZoneLease, survey
from jobs.sandbox.filters import seccomp
from jobs.sandbox.first_process.build import fork_server
from jobs.sandbox.mounts.broker_client import Broker
from jobs.sandbox.mounts.stage_hand import stage_hand
from jobs.sandbox.probe import probe, refuse_if_missing
from jobs.sandbox.tenants import TenantUids
from jobs.sandbox.zone import ForkServerZone
from manta.core.errors import SandboxUnavailable
from manta.core.limits import MIB, TASK_MEMORY_DEFAULT_BYTES
from manta.core.owner import claim_folder

_SELF_TEST_TIMEOUT_S: Final = 30.0
STAGE_PLACE: Final = Path("/run/manta-stage")
"""Empty but for those who build a zone: each sees there what it is shown."""


class NamespaceSandbox:
    """The Sandbox of api.py, on Linux namespaces, over the volume whose blobs lie in `blobs_dir`."""

    def __init__(  # noqa: PLR0913 - composed once, by name where it matters
        self,
        blobs_dir: Path,
        state_dir: Path,
        *,
        shared_dir: Path | None = None,
        store_uid: int | None = None,
        binds: Mapping[str, Path] | None = None,
        programs: Mapping[str, bytes] | None = None,
        links: Mapping[str, str] | None = None,
        fork_server_kind: str | None = None,
        builder: BuilderChoice = BUBBLEWRAP,
    ) -> None:
        """`state_dir` keeps the compiled fork server; `shared_dir` is where the files lie that zones get as assets.

        `store_uid` owns the blobs, where the node runs as root and the store does not. `binds` maps paths in the zone
        to the host's, read-only; `programs` are executable files by their path in the zone, `links` symbolic links to
        their targets. `fork_server_kind` forces "c" or "python"; by default C where a compiler is found.
        """
        self._state_dir = state_dir
        self._shared_dir = shared_dir or state_dir / "shared"
        self._binds = binds or {}
        self._programs = programs or {}
        self._links = links or {}
        self._wanted = fork_server_kind
        self._builder = builder
        self._is_root = os.geteuid() == 0
        self._uids = TenantUids()
        self._broker = Broker(blobs_dir.resolve(), store_uid if self._is_root else None)
        self._blueprint: Blueprint | None = None
        self._groups: ControlGroups | None = None

    async def start(self) -> None:
        """SandboxUnavailable: then nothing is left of it, and it may be tried again."""
        refuse_if_missing(probe(self._builder))
        try:
            self._blueprint = self._build()
            groups = ControlGroups(sha256(bytes(self._state_dir.resolve())).hexdigest()[:12])
            await groups.open()
            self._groups = groups
            await self._broker.start()
            await self._self_test()
        except BaseException:
            await self._take_down()
            raise

    async def open_zone(self, spec: ZoneSpec) -> ForkServerZone:
        if self._blueprint is None:
            raise SandboxUnavailable("The sandbox was not started.")
        return await self._open(self._blueprint, self._broker, spec)

    async def _open(self, blueprint: Blueprint, broker: Broker, spec: ZoneSpec) -> ForkServerZone:
        assert self._groups is not None
        uid = self._uids.uid(spec.tenant) if self._is_root else None
        holds = self._groups.holds
        lease = None
        if spec.image is not None and not blueprint.program.stands_alone:
            raise ZoneInitError(
                "Images need a fork server that stands alone: install `gcc` and `libc6-dev` on the node."
            )
        try:
            if uid is not None:
                for folder in spec.workplaces.values():
                    os.chown(folder, uid, uid)
            lease = self._groups.lease(group_limits_of(spec, holds))
            interior = Interior(
                joins=_joins(lease),
                zone_folder_bytes=scratch_bytes_of(spec, holds) if spec.init else 0,
                binds=spec.binds,
                files=spec.files,
                assets=spec.assets,
                image=spec.image,
                workplaces=spec.workplaces,
                stage=self._stage() if uid is not None and (spec.assets or spec.image or spec.workplaces) else None,
                terminal=spec.terminal,
            )
            launched = launch(blueprint, uid, interior)
        except OSError as error:
            if lease is not None:
                lease.give_back()
            raise SandboxUnavailable(f"A zone cannot be started: {error}.") from None
        zone = ForkServerZone(spec, launched, limits_of(spec, holds), broker.mount, uid, lease)
        try:
            await zone.greet()
            await zone.initialize()
        except BaseException:
            await zone.close()
            raise
        return zone

    def _stage(self) -> Stage:
        """OSError when there is no place for it."""
        STAGE_PLACE.mkdir(mode=0o755, exist_ok=True)
        return Stage(str(self._shared_dir), str(STAGE_PLACE))

    def describe(self) -> dict[str, object]:
        return {
            "driver": f"{self._builder.name}, user namespaces, seccomp",
            "fork_server": self._blueprint.program.kind if self._blueprint else None,
            "identity": "a uid per account" if self._is_root else f"uid {os.geteuid()} for every account",
            "limits": means(self._groups.survey if self._groups else survey()),
        }

    async def close(self) -> None:
        await self._take_down()
        self._broker.close()

    async def _take_down(self) -> None:
        self._broker.stop()
        if self._groups is not None:
            await self._groups.close()
            self._groups = None
        if self._blueprint is not None:
            blueprint = self._blueprint
            own = (blueprint.program.file, blueprint.zone_filter, blueprint.task_filter, blueprint.stage_hand.file)
            for file in (*own, *blueprint.programs.values()):
                file.close()
            if isinstance(blueprint.builder, Runtime):
                shutil.rmtree(blueprint.builder.bundles, ignore_errors=True)
            self._blueprint = None

    async def _self_test(self) -> None:
        """One task on one file, all the way: what the kernel refuses is found at the start, not by a user's task."""
        assert self._blueprint is not None
        self._state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="self-test-", dir=self._state_dir))
        broker = Broker(folder, None)
        try:
            file = folder / "probe"
            file.write_bytes(b"probe\n")
            file.chmod(0o444)
            zone = await self._open(self._blueprint, broker, ZoneSpec("self-test", "", TASK_MEMORY_DEFAULT_BYTES, MIB))
            try:
                await _expect_probe(zone)
            finally:
                await zone.close()
        finally:
            broker.close()
            shutil.rmtree(folder)

    def _zone_builder(self) -> str | Runtime:
        """SandboxUnavailable when it is not there, or its bundles have no place."""
        path = self._builder.require()
        if self._builder.kind == "bubblewrap":
            return path
        folder = bundles_folder(self._state_dir)
        try:
            claim_folder(folder, folder.name, 0o711 if self._is_root else 0o700, f"{folder.name.partition('-')[0]}-*")
        except OSError as error:
            raise SandboxUnavailable(f"The bundles of zones have no place: {error}.") from None
        return Runtime(path, folder)

    def _build(self) -> Blueprint:
        machine = platform.machine()
        builder = self._zone_builder()
        program = fork_server(self._state_dir, self._wanted)
        zone_filter = SealedFile("zone.bpf", seccomp.zone_filter(machine))
        task_filter = SealedFile("task.bpf", seccomp.task_filter(machine))
        programs = {path: SealedFile(Path(path).name, content) for path, content in self._programs.items()}
        return Blueprint(
            builder,
            program,
            zone_filter,
            task_filter,
            stage_hand(self._state_dir, self._wanted),
            self._binds,
            programs,
            self._links,
        )


def _joins(lease: ZoneLease | None) -> Joins:
    return Joins() if lease is None else Joins(lease.task_join, lease.init_join, tuple(lease.server_joins))


async def _expect_probe(zone: ForkServerZone) -> None:
    """The task reads its input and cannot write it."""
    command = 'read -r line && test "$line" = probe && ! (: >> /input/probe) 2>/dev/null'
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        end = await zone.run(TaskSpec(command, {}, _SELF_TEST_TIMEOUT_S, nowhere, nowhere, "probe", "probe"))
    finally:
        os.close(nowhere)
    if end.exit_status != 0:
        raise SandboxUnavailable(f"The sandbox failed its test at start (exit status {end.exit_status}).")
