"""The driver that an OCI runtime builds zones for: what it says, refuses and leaves behind."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.sandbox import NamespaceSandbox, probe
from jobs.sandbox.building.builders import builder_choice
from jobs.sandbox.building.oci import bundles_folder
from jobs.sandbox.zone import ForkServerZone
from manta.core.errors import InvalidArgument, SandboxUnavailable
from tests.support.processes import alive, descendants
from tests.support.sandbox import Workshop, run_in, started, zone_of
from tests.support.store import running_store
from tests.support.waiting import eventually

pytestmark = pytest.mark.invariant("S4")


def _bundles(state: Path) -> list[str]:
    return sorted(path.name for path in bundles_folder(state).glob("zone-*"))


async def test_s4_a_zone_leaves_no_bundle_and_the_driver_no_folder(tmp_path: Path, sandbox_state: Path) -> None:
    async with started(tmp_path / "blobs", sandbox_state, "c", "oci") as sandbox:
        assert sandbox.describe()["driver"] == "OCI runtime runc, user namespaces, seccomp"
        async with zone_of(sandbox, init="echo made > note", env={"PATH": "/usr/bin:/bin"}) as zone:
            assert (
                await run_in(zone, "cat /zone/note; ! touch /zone/new 2>/dev/null && echo fine")
            ).out == "made\nfine\n"
            assert len(_bundles(sandbox_state)) == 1
        assert _bundles(sandbox_state) == []
    assert not bundles_folder(sandbox_state).exists()


async def test_s4_a_missing_runtime_is_refused(tmp_path: Path) -> None:
    sandbox = NamespaceSandbox(tmp_path, tmp_path / "state", builder=builder_choice("oci", str(tmp_path / "none")))
    with pytest.raises(SandboxUnavailable, match=r"OCI runtime .*none: not on PATH\. Install the package `runc`, or"):
        await sandbox.start()
    await sandbox.close()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'rootless is not for me' >&2; exit 1", "containers without privileges: rootless is not for me"),
        ("exit 0", "does not run"),
    ],
)
async def test_s4_a_runtime_that_builds_no_zone_is_refused(tmp_path: Path, script: str, reason: str) -> None:
    """One that fails is quoted; one that pretends is found out by the test at the start."""
    (tmp_path / "blobs").mkdir(mode=0o700)
    runtime = Path("/run" if os.geteuid() == 0 else tmp_path, f"manta-test-runtime-{os.getpid()}")
    runtime.write_text(f"#!/bin/sh\n{script}\n")
    runtime.chmod(0o755)
    sandbox = NamespaceSandbox(tmp_path / "blobs", tmp_path / "state", builder=builder_choice("oci", str(runtime)))
    try:
        with pytest.raises(SandboxUnavailable, match=reason):
            await sandbox.start()
    finally:
        await sandbox.close()
        runtime.unlink()


def test_s4_the_choice_is_checked() -> None:
    with pytest.raises(InvalidArgument, match="choose bubblewrap or oci"):
        builder_choice("docker")
    with pytest.raises(InvalidArgument, match="--sandbox oci"):
        builder_choice("bubblewrap", "/usr/sbin/runc")
    findings = probe(builder_choice("oci", "/no/such/runtime"))
    assert [finding.what for finding in findings if not finding.ok and finding.required] == [
        "OCI runtime /no/such/runtime"
    ]


_NODE = """
import asyncio, sys
from pathlib import Path
from tests.support.sandbox import run_in, started, zone_of

async def main():
    async with started(Path(sys.argv[1]), Path(sys.argv[2]), "c", "oci") as sandbox, zone_of(sandbox) as zone:
        await run_in(zone, "true")
        print("up", flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_s4_bundles_of_a_killed_node_go_at_the_next_start_of_any(tmp_path: Path, sandbox_state: Path) -> None:
    if builder_choice("oci").find() is None:
        pytest.skip("there is no runc on this machine")
    other = tmp_path / "other"
    folder = bundles_folder(other)
    command = [sys.executable, "-c", _NODE, str(tmp_path / "blobs"), str(other)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as node:
        assert node.stdout is not None
        assert await asyncio.to_thread(node.stdout.readline) == b"up\n"
        node.send_signal(signal.SIGKILL)
    assert folder.exists()
    state = sandbox_state if os.geteuid() == 0 else other
    async with started(tmp_path / "blobs", state, "c", "oci"):
        assert _bundles(other) == []
        assert os.geteuid() != 0 or not folder.exists()


_OUTLIVE = """
_check(_libc.prctl(_PR_SET_PDEATHSIG, 0, 0, 0, 0))
os.write(request.stdout, b"deaf")
for descriptor in request.descriptors:
    os.close(descriptor)
server._channel.send(REPLY.pack(ENDED, 0, 0, 0, 0, 0, 0, 0))
while True:
    time.sleep(60)
"""


async def test_s4_a_taken_over_fork_server_does_not_outlive_its_zone(hostile: Workshop) -> None:
    """Neither driver's zone depends on its first process wishing to end with whoever started it."""
    async with zone_of(hostile.sandbox, name="deaf") as zone:
        ended = await run_in(zone, "", env={"ATTACK": _OUTLIVE, "WHERE": "itself"})
        assert ended.out == "deaf", ended
        assert isinstance(zone, ForkServerZone)
        firsts = descendants(zone.pid)
        assert firsts
    await eventually(lambda: not any(map(alive, firsts)))


def test_s4_a_store_without_its_runtime_refuses_tasks_with_the_reason(tmp_path: Path) -> None:
    """It serves objects, says in its status and to the doctor what is missing, and runs nothing unsandboxed."""
    missing = str(tmp_path / "no-runtime")
    options = ("--sandbox", "oci", "--runtime", missing)
    with running_store(tmp_path / "store", *options) as running, running.client() as store:
        store.make_bucket("bucket")
        store.write("s3://bucket/key", b"x")
        job = store.submit([{"type": "map", "exec": "touch /tmp/ran"}], inputs=["s3://bucket/key"])
        job.wait(timeout_s=60)
        (error,) = job.errors()
        assert error["code"] == "InternalError"
        assert missing in error["message"]
        assert "Install the package `runc`" in error["message"]
        told = running.manta("doctor", "--data", str(running.data))
    assert told.returncode == 1
    assert f"FAIL  OCI runtime {missing}: not on PATH" in told.stdout.decode()


def test_s4_doctor_says_which_driver_and_which_limits_hold(tmp_path: Path) -> None:
    for options, named in (((), "bubblewrap: "), (("--sandbox", "oci"), "OCI runtime runc: ")):
        command = [sys.executable, "-m", "manta.cli.main", "doctor", "--data", str(tmp_path), *options]
        said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        assert named in said
        for limit in ("memory", "processes", "cpu"):
            assert f"limit of a task's {limit}: " in said


def test_jobs_run_alike_with_an_oci_runtime(tmp_path: Path) -> None:
    """Assets, init, programs and a reducer, in zones that the runtime built."""
    if builder_choice("oci").find() is None:
        pytest.skip("there is no runc on this machine")
    with running_store(tmp_path / "store", "--sandbox", "oci") as running, running.client() as store:
        store.make_bucket("bucket")
        store.write("s3://bucket/in", b"1\n2\n3\n")
        store.write("s3://bucket/tool/count", b"#!/bin/sh\nwc -l\n")
        mapped = {
            "type": "map",
            "init": "echo prepared > note",
            "assets": ["s3://bucket/tool/count"],
            "exec": "/assets/bucket/tool/count; cat /zone/note; mget bucket/in | tail -1",
        }
        job = store.submit([mapped, {"type": "reduce", "exec": "cat"}], inputs=["s3://bucket/in"])
        assert job.wait(timeout_s=60).state == "done"
        assert list(job.errors()) == []
        (line,) = job.outputs()
        assert store.read(f"s3://{line['bucket']}/{line['key']}") == b"3\nprepared\n3\n"
