"""How a zone is started: by bubblewrap or by an OCI runtime; and how it is ended."""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jobs.sandbox.building import bubblewrap, oci
from jobs.sandbox.building.blueprint import Blueprint, Interior, Joins, Runtime, SealedFile, Stage, StageHand

_RUNTIME_END_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Launched:
    """A zone's process (its builder), the agent's end of its channel, and the pipe where the builder complains."""

    process: "subprocess.Popen[bytes]"
    channel: socket.socket
    complaints: int
    bundle: Path | None = None

    def end(self) -> None:
        """Everything in the zone is killed, by its first process: also when that would not end with its builder."""
        _kill_children(self.process.pid)
        if self.bundle is None:
            self.process.kill()
            self.process.wait()

    async def remove(self) -> None:
        """What an ended zone leaves on the host goes."""
        if self.bundle is not None:
            await asyncio.to_thread(self._remove_bundle, self.bundle)

    def _remove_bundle(self, bundle: Path) -> None:
        """The runtime first removes its own state, and control groups if it made any."""
        try:
            self.process.wait(_RUNTIME_END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(bundle, ignore_errors=True)


def _kill_children(pid: int) -> None:
    """Of a process that was started here and is not reaped yet, so that no number can be another's."""
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, task.read_text().split()):
                os.kill(child, signal.SIGKILL)


def launch(blueprint: Blueprint, uid: int | None, interior: Interior) -> Launched:
    """Starts a zone; with `uid`, as that user.

    Call it on a thread that outlives the zone: the zone dies with it.
    """
    opened: list[int] = []
    with contextlib.ExitStack() as undo:
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undo.callback(ours.close)
            opened.append(theirs.detach())
            complaints, their_stderr = os.pipe()
            undo.callback(os.close, complaints)
            opened.append(their_stderr)
            plan = _plan(blueprint, uid, interior, opened[0], opened)
            if plan.bundle is not None:
                undo.callback(shutil.rmtree, plan.bundle, ignore_errors=True)
            process = _start(plan, blueprint.stage_hand, interior.stage, uid, their_stderr, opened)
        finally:
            for descriptor in opened:
                os.close(descriptor)
        undo.pop_all()
    ours.setblocking(False)
    os.set_blocking(complaints, False)
    return Launched(process, ours, complaints, plan.bundle)


@dataclass(frozen=True, slots=True)
class _Plan:
    """How the builder is called, and the descriptors it is given."""

    arguments: list[str]
    descriptors: list[int]
    bundle: Path | None = None


def _start(
    plan: _Plan, hand: StageHand, stage: Stage | None, uid: int | None, their_stderr: int, opened: list[int]
) -> "subprocess.Popen[bytes]":
    arguments, descriptors = plan.arguments, plan.descriptors
    if uid is not None:
        opened.append(hand.file.open())
        arguments = hand.command(opened[-1], uid, stage or Stage()) + arguments
        descriptors = [*descriptors, opened[-1]]
    return subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=their_stderr,
        stderr=their_stderr,
        pass_fds=descriptors,
        cwd="/",
        env={},
        start_new_session=True,
    )


def _plan(blueprint: Blueprint, uid: int | None, interior: Interior, channel: int, opened: list[int]) -> _Plan:
    """What it opens for the zone is added to `opened`, for the caller to close."""
    if isinstance(blueprint.builder, Runtime):
        return _oci_plan(blueprint, blueprint.builder, uid, interior, channel, opened)
    files: list[int] = []
    try:
        arguments = bubblewrap.arguments(blueprint, blueprint.builder, interior, channel, files)
    finally:
        opened += files
    return _Plan(arguments, [channel, *files, *interior.joins.descriptors])


def _oci_plan(
    blueprint: Blueprint, runtime: Runtime, uid: int | None, interior: Interior, channel: int, opened: list[int]
) -> _Plan:
    """Descriptors as the zone will know them: its program is 3, and so on."""
    given: list[int] = []

    def passed(descriptor: int) -> int:
        opened.append(oci.high(descriptor))
        given.append(opened[-1])
        return oci.FIRST_DESCRIPTOR + len(given) - 1

    def passed_file(file: SealedFile) -> int:
        opened.append(file.open())
        return passed(opened[-1])

    joins = interior.joins
    inside = Joins(
        passed(joins.task) if joins.task >= 0 else -1,
        passed(joins.init) if joins.init >= 0 else -1,
        tuple([passed(join) for join in joins.server]),
    )
    program = blueprint.program.command(
        passed_file(blueprint.program.file),
        passed(channel),
        passed_file(blueprint.task_filter),
        inside,
        passed_file(blueprint.zone_filter),
    )
    content = oci.Content(
        programs={**{path: file.content for path, file in blueprint.programs.items()}, **interior.files},
        links=blueprint.links,
        binds={inside: str(outside) for inside, outside in {**blueprint.binds, **interior.binds}.items()},
        assets={inside: interior.seen(outside) for inside, outside in interior.assets.items()},
        workplaces={inside: interior.seen(outside) for inside, outside in interior.workplaces.items()},
        image=interior.seen(interior.image) if interior.image is not None else None,
        zone_folder_bytes=interior.zone_folder_bytes,
        terminal=interior.terminal,
    )
    bundle = oci.make_bundle(
        runtime, f"zone-{secrets.token_hex(8)}", os.geteuid() if uid is None else uid, program, content
    )
    return _Plan(oci.run_command(runtime, bundle, given), given, bundle)
