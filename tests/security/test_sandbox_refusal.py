"""Where no sandbox can be built, the driver says why and what to do, and runs nothing: there is no unsandboxed mode."""

import os
import tempfile
from pathlib import Path

import pytest

import jobs.sandbox.driver
import manta.core.compiled
from jobs.sandbox import NamespaceSandbox, probe
from jobs.sandbox.first_process.build import fork_server
from jobs.sandbox.zone import ForkServerZone
from manta.core.errors import SandboxUnavailable
from tests.support.sandbox import ZONE, put_blob, run_in, started, zone_of

pytestmark = pytest.mark.invariant("S4")


async def test_s4_without_bubblewrap_nothing_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    sandbox = NamespaceSandbox(tmp_path, tmp_path / "state")
    with pytest.raises(SandboxUnavailable, match=r"bubblewrap: not on PATH\. Install the package `bubblewrap`"):
        await sandbox.start()
    with pytest.raises(SandboxUnavailable, match="not started"):
        await sandbox.open_zone(ZONE)
    await sandbox.close()


async def test_s4_a_bubblewrap_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the kernel forbids user namespaces: bubblewrap's own words reach the operator."""
    sandbox = NamespaceSandbox(tmp_path, tmp_path / "state")
    with tempfile.TemporaryDirectory() as folder:  # tmp_path is closed to the uid that bubblewrap is run as
        Path(folder).chmod(0o755)
        broken = Path(folder, "bwrap")
        broken.write_text("#!/bin/sh\necho 'No permissions to create new namespace' >&2; exit 1\n")
        broken.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        with pytest.raises(SandboxUnavailable, match=r"user namespaces: No permissions to create .*\. Allow"):
            await sandbox.start()
    await sandbox.close()


async def test_s4_a_zone_that_cannot_be_built_is_told(tmp_path: Path, sandbox_state: Path) -> None:
    """bubblewrap gives up on a bind of what is not there, and its reason comes through."""
    blobs = tmp_path / "blobs"
    blobs.mkdir(mode=0o700)
    sandbox = NamespaceSandbox(blobs, sandbox_state, binds={"/opt/none": tmp_path / "none"})
    with pytest.raises(SandboxUnavailable, match=r"bwrap: .*none"):
        await sandbox.start()
    await sandbox.close()


async def test_s4_a_missing_blobs_folder_is_told(tmp_path: Path, sandbox_state: Path) -> None:
    sandbox = NamespaceSandbox(tmp_path / "none", sandbox_state)
    with pytest.raises(SandboxUnavailable, match=r"mount broker .*No such file or directory"):
        await sandbox.start()
    await sandbox.close()


async def test_a_start_that_fails_leaves_nothing_and_may_be_tried_again(
    tmp_path: Path, sandbox_state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node tries every half a minute, for as long as it takes."""

    async def fails(_zone: ForkServerZone) -> None:
        raise SandboxUnavailable("Not now.")

    blobs = tmp_path / "blobs"
    blobs.mkdir(mode=0o700)
    blob = put_blob(blobs, "blob-1", b"x\n")
    sandbox = NamespaceSandbox(blobs, sandbox_state, programs={"/manta/bin/one": b"#!/bin/sh\n"})
    before = len(list(Path("/proc/self/fd").iterdir()))
    with monkeypatch.context() as patch:
        patch.setattr(jobs.sandbox.driver, "_expect_probe", fails)
        for _ in range(2):
            with pytest.raises(SandboxUnavailable, match="Not now"):
                await sandbox.start()
            assert len(list(Path("/proc/self/fd").iterdir())) == before
            with pytest.raises(SandboxUnavailable, match="not started"):
                await sandbox.open_zone(ZONE)
    await sandbox.start()
    async with zone_of(sandbox) as zone:
        assert (await run_in(zone, "wc -l", blob=blob)).out == "1\n"
    await sandbox.close()


async def test_s4_binds_are_read_only(tmp_path: Path, sandbox_state: Path) -> None:
    blobs = tmp_path / "blobs"
    blobs.mkdir(mode=0o700)
    sandbox = NamespaceSandbox(blobs, sandbox_state, binds={"/opt/programs": Path("/usr/share")})
    await sandbox.start()
    try:
        zone = await sandbox.open_zone(ZONE)
        ended = await run_in(zone, "test -d /opt/programs/doc && ! touch /opt/programs/new 2>/dev/null && echo fine")
        assert ended.out == "fine\n"
        await zone.close()
    finally:
        await sandbox.close()


def test_s4_without_a_compiler_python_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manta.core.compiled, "COMPILERS", ("no-such-compiler",))
    program = fork_server(tmp_path)
    assert program.kind == "python"
    program.file.close()
    with pytest.raises(SandboxUnavailable, match="install a C compiler"):
        fork_server(tmp_path, "c")


def test_s4_the_fork_server_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fork_server(tmp_path, "c")
    first.file.close()
    monkeypatch.setattr(manta.core.compiled, "COMPILERS", ("no-such-compiler",))
    second = fork_server(tmp_path, "c")
    second.file.close()
    assert len(list(tmp_path.iterdir())) == 1


async def test_s4_the_driver_describes_itself(tmp_path: Path, sandbox_state: Path) -> None:
    async with started(tmp_path / "blobs", sandbox_state, "python") as sandbox:
        description = sandbox.describe()
        async with zone_of(sandbox):
            pass
    assert description["fork_server"] == "python"
    assert isinstance(description["limits"], dict)
    assert {"memory", "processes", "scratch", "timeout"} <= description["limits"].keys()


def test_s4_every_finding_has_a_remedy() -> None:
    findings = probe()
    assert all(finding.remedy and finding.seen for finding in findings)
    assert all(finding.ok for finding in findings if finding.required), "this machine cannot run the tests"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run the broker as another user")
async def test_s4_the_store_may_have_a_uid_of_its_own(sandbox_state: Path) -> None:
    """The node runs as root, the blobs belong to another user, the task is a third: it reads, and owns nothing."""
    store_uid = 65532
    with tempfile.TemporaryDirectory() as folder:  # tmp_path is closed to other users
        blobs = Path(folder, "blobs")
        blobs.mkdir(mode=0o700)
        blob = put_blob(blobs, "blob-1", b"one line\n")
        for path in (Path(folder), blobs, *blobs.rglob("*")):
            os.chown(path, store_uid, store_uid)
        sandbox = NamespaceSandbox(blobs, sandbox_state, store_uid=store_uid)
        await sandbox.start()
        try:
            zone = await sandbox.open_zone(ZONE)
            ended = await run_in(zone, "wc -l; test -O /input/x || echo not mine", blob=blob, input_name="x")
            await zone.close()
        finally:
            await sandbox.close()
    assert ended.out == "1\nnot mine\n"
