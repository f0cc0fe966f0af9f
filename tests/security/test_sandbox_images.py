"""An image as a zone's root: its own files and no others, nothing of it can be changed, whatever its author put in."""

import platform
import tarfile
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from jobs.programs.unpacking.main import unpack
from jobs.sandbox.api import Zone, ZoneInitError
from tests.support.oci import Image, entry, file, programs, tar
from tests.support.sandbox import ZONE, Workshop, run_in

pytestmark = pytest.mark.invariant("S4")
TREE = Image(
    [
        tar(
            [
                *programs("cat", "ls", "rm", "touch", "chmod", "ln", "mv", "mount", "chroot", "readlink", "find"),
                file("etc/passwd", b"root:x:0:0::/:/bin/sh\n"),
                file("bin/su", b"#!/bin/sh\n", 0o4755),
                entry("etc/shadow", tarfile.SYMTYPE, "/../../../../../../etc/shadow"),
                entry("up", tarfile.SYMTYPE, "../../../../.."),
            ]
        )
    ]
)


@pytest_asyncio.fixture
async def zone(workshop: Workshop) -> AsyncIterator[Zone]:
    shared = workshop.state / "shared"
    root = shared / "root"
    if not root.exists():
        root.mkdir(parents=True)
        (shared / "archive").write_bytes(TREE.archive())
        unpack(str(shared / "archive"), str(root), 1 << 30, 10_000, platform.machine())
    shared.chmod(0o711)
    spec = replace(ZONE, image=str(root), init="touch note")
    if workshop.sandbox.describe()["fork_server"] == "python":
        with pytest.raises(ZoneInitError, match="gcc"):
            await workshop.sandbox.open_zone(spec)
        pytest.skip("images need the fork server in C, and that was said")
    opened = await workshop.sandbox.open_zone(spec)
    try:
        yield opened
    finally:
        await opened.close()


async def test_s4_nothing_of_an_image_can_be_changed(zone: Zone, workshop: Workshop) -> None:
    attack = """
        for command in 'touch /new' 'touch /etc/new' 'rm -f /etc/passwd' 'chmod 777 /bin/su' 'mv /bin/su /bin/x' \\
            'ln /bin/su /bin/y' 'ln -s / /bin/z' 'echo x > /etc/passwd' 'touch /dev/new' 'touch /run/new' \\
            'touch /manta/new' 'touch /assets/new' 'touch /zone/new' 'touch /input/new' 'touch /up/new' \\
            'mount -o remount,rw /' 'mount --bind /scratch /etc' 'chroot /up ls'; do
            (eval "$command") 2>/dev/null && echo "done: $command"
        done
        [ -f /zone/note ] && echo zone; touch /tmp/mine && ls /scratch
    """
    before = {path: path.lstat().st_mode for path in (workshop.state / "shared" / "root").rglob("*")}
    ended = await run_in(zone, attack, env={"PATH": "/bin"})
    assert ended.out.split("\n") == ["zone", "mine", ""], ended.out
    assert {path: path.lstat().st_mode for path in (workshop.state / "shared" / "root").rglob("*")} == before


async def test_s4_an_image_sees_nothing_of_the_host(zone: Zone) -> None:
    """Links that lead upward end at the image's own root; of the host there are devices only."""
    look = """
        ls /up/; cat /etc/shadow 2>/dev/null && echo shadow; ls /usr 2>/dev/null && echo usr
        ls /home /root /oldroot /newroot /run/manta-stage 2>/dev/null && echo host
        cat /proc/mounts
    """
    ended = await run_in(zone, look, env={"PATH": "/bin"})
    listing, _, mounts = ended.out.partition("zone\n")
    assert " ".join(listing.split()) == "assets bin dev etc input lib lib64 manta proc run scratch tmp up var"
    points = {line.split()[1] for line in mounts.splitlines()}
    devices = {f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom")}
    assert points == {"/", "/proc", "/dev", "/run", "/manta", "/assets", "/scratch", "/zone", *devices}
    root = next(line for line in mounts.splitlines() if line.split()[1] == "/")
    assert "ro" in root.split()[3].split(",")
