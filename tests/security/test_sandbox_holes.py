"""Holes that were seen in the sandbox's prototype: each stays closed, for root and for an ordinary user."""

import asyncio
import os
from pathlib import Path

import pytest

from jobs.sandbox.api import TaskSpec
from tests.support.sandbox import Workshop, put_blob

pytestmark = pytest.mark.invariant("S4")

_REOPEN = """
import os, sys
for path in ("/proc/self/fd/0", "/dev/stdin", "/input/input.txt", "/proc/thread-self/fd/0", "/proc/1/fd/0"):
    for flags in (os.O_RDWR, os.O_WRONLY, os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND):
        try:
            os.write(os.open(path, flags), b"overwritten")
            print("wrote by", path, flags)
        except OSError:
            pass
print("tried")
"""


async def test_s4_a_task_cannot_reopen_its_input_writable(workshop: Workshop) -> None:
    ended = await workshop.python(_REOPEN, on_blob=True)
    assert ended.out == "tried\n", ended
    assert workshop.blob_is_unchanged()


_CHANGE = """
import ctypes, os
path = "/input/input.txt"
attempts = {
    "chmod": lambda: os.chmod(path, 0o666),
    "fchmod": lambda: os.fchmod(0, 0o666),
    "chown": lambda: os.chown(path, 0, 0),
    "utime": lambda: os.utime(path, (0, 0)),
    "futimens": lambda: os.utime(0, (0, 0)),
    "truncate": lambda: os.truncate(path, 0),
    "ftruncate": lambda: os.ftruncate(0, 0),
    "setxattr": lambda: os.setxattr(path, "user.manta", b"x"),
    "fsetxattr": lambda: os.setxattr(0, "user.manta", b"x"),
    "unlink": lambda: os.unlink(path),
    "rename": lambda: os.rename(path, "/input/other"),
    "link": lambda: os.link(path, "/scratch/linked"),
    "link by descriptor": lambda: os.link("/proc/self/fd/0", "/scratch/linked", follow_symlinks=True),
    "create": lambda: os.open("/input/other", os.O_CREAT | os.O_WRONLY),
    "fallocate": lambda: os.posix_fallocate(0, 0, 10_000),
}
for name, attempt in attempts.items():
    try:
        attempt()
        print("could", name)
    except OSError:
        pass
print("tried")
"""


async def test_s4_a_task_cannot_change_or_delete_its_input(workshop: Workshop) -> None:
    before = (workshop.blobs / workshop.blob).stat()
    ended = await workshop.python(_CHANGE, on_blob=True)
    assert ended.out == "tried\n", ended
    after = (workshop.blobs / workshop.blob).stat()
    assert workshop.blob_is_unchanged()
    assert (before.st_mode, before.st_mtime_ns, before.st_nlink) == (after.st_mode, after.st_mtime_ns, after.st_nlink)


_LEASE = """
import fcntl
for kind in (fcntl.F_WRLCK, fcntl.F_RDLCK):
    try:
        fcntl.fcntl(0, 1024, kind)
        print("leased")
    except PermissionError:
        print("refused")
"""


async def test_s4_a_task_cannot_take_a_lease_that_blocks_the_store(workshop: Workshop) -> None:
    ended = await workshop.python(_LEASE, on_blob=True)
    assert ended.out == "refused\nrefused\n", ended


async def test_s4_a_lock_on_the_input_does_not_block_the_store(workshop: Workshop) -> None:
    """flock succeeds, so the store must never rely on locks on blobs: it reads and removes a locked one."""
    command = "exec 9</input/input.txt; flock -x 9 && echo locked; exec sleep 60"
    out, theirs = os.pipe()
    task = TaskSpec(command, {"PATH": "/usr/bin:/bin"}, 60.0, theirs, theirs, workshop.blob, "input.txt")
    running = asyncio.create_task(workshop.zone.run(task))
    assert await asyncio.to_thread(os.read, out, 100) == b"locked\n"
    file = workshop.blobs / workshop.blob
    assert workshop.blob_is_unchanged()
    with open(file, "rb") as reader:
        assert reader.read(3) == b"the"
    file.unlink()
    await workshop.zone.kill()
    await running
    os.close(out)
    os.close(theirs)


_REMOUNT = """
SYS_MOUNT_SETATTR, SYS_OPEN_TREE = 442, 428
def tried(name, result):
    if result >= 0:
        print("could", name)
clear = struct.pack("<QQQQ", 0, 1 | 2 | 4, 0, 0)
tried("clear on the detached mount",
      _libc.syscall(_long(SYS_MOUNT_SETATTR), _long(request.object), b"", _long(0x1000), clear, ctypes.c_size_t(32)))
_attach_input(request)
path = b"/input/" + request.name
tried("clear by path", _libc.syscall(_long(SYS_MOUNT_SETATTR), _long(-100), path, _long(0), clear, ctypes.c_size_t(32)))
tried("remount", _libc.mount(None, path, None, ctypes.c_ulong(32 | 4096), None))
tried("remount nosuid only", _libc.mount(None, path, None, ctypes.c_ulong(32 | 4096 | 2), None))
copy = _libc.syscall(_long(SYS_OPEN_TREE), _long(-100), path, _long(1))
print("copy", copy >= 0)
tried("clear on a copy",
      _libc.syscall(_long(SYS_MOUNT_SETATTR), _long(copy), b"", _long(0x1000), clear, ctypes.c_size_t(32)))
for target in (path, b"/proc/self/fd/%d" % copy, b"/proc/self/fd/%d" % request.object):
    for flags in (os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
        try:
            os.write(os.open(target, flags), b"overwritten")
            print("wrote by", target)
        except OSError:
            pass
print("tried", open(path).readline(), end="")
"""


async def test_s4_a_taken_over_fork_server_cannot_make_the_input_writable(hostile: Workshop) -> None:
    ended = await hostile.run_on_blob("", env={"ATTACK": _REMOUNT, "WHERE": "task"})
    assert ended.out == "copy True\ntried the first line\n", ended
    assert hostile.blob_is_unchanged()


_SEARCH = """
secret = b"ab/cd/blob-2"
found = []
def look(folder, depth=0):
    for entry in os.scandir(folder):
        if b"blob-2" in entry.path or b"blobs" in entry.path:
            found.append(entry.path)
        if entry.is_dir(follow_symlinks=False) and entry.path not in (b"/usr", b"/proc"):
            look(entry.path, depth + 1)
look(b"/")
def reach(name, attempt):
    try:
        print("could", name, attempt())
    except OSError:
        pass
reach("parent", lambda: os.open("..", os.O_RDONLY, dir_fd=request.object))
reach("sibling", lambda: os.open("../blob-2", os.O_RDONLY, dir_fd=request.object))
reach("by descriptor", lambda: os.open("/proc/self/fd/%d/../blob-2" % request.object, os.O_RDONLY))
for pid in [name for name in os.listdir("/proc") if name.isdigit()]:
    for link in ("root", "cwd"):
        for place in HOST_PATHS:
            reach(f"{pid}/{link}{place}", lambda: os.listdir(f"/proc/{pid}/{link}{place}"))
_check(_libc.mount(b"tmpfs", b"/scratch", b"tmpfs", ctypes.c_ulong(0), None))
for place in HOST_PATHS:
    reach(place, lambda: os.listdir(place))
handle = ctypes.create_string_buffer(struct.pack("<Ii", 128, 0), 136)
mount_id = ctypes.c_int()
result = _libc.name_to_handle_at(request.object, b"", handle, ctypes.byref(mount_id), 0x1000)
print("handle", result, "found", found)
"""


async def test_s4_a_taken_over_fork_server_reads_no_other_blob(hostile: Workshop) -> None:
    put_blob(hostile.blobs, "blob-2", b"another tenant's secret")
    places = f"HOST_PATHS = {[str(hostile.blobs), str(hostile.blobs / 'ab/cd')]!r}\n"
    ended = await hostile.run_on_blob("", env={"ATTACK": places + _SEARCH, "WHERE": "task"})
    assert ended.out == "handle -1 found []\n", ended


_ESCAPE = """
def tried(name, result):
    if result >= 0:
        print("could", name)
tried("unshare a user namespace", _libc.unshare(0x10000000))
tried("clone a user namespace", _libc.syscall(_long(_SYS_CLONE), _long(0x10000000 | 17), *[_long(0)] * 4))
tried("clone a network namespace", _libc.syscall(_long(_SYS_CLONE), _long(0x40000000 | 17), *[_long(0)] * 4))
tried("setns", _libc.setns(os.open("/proc/self/ns/mnt", os.O_RDONLY), 0))
tried("chroot", _libc.chroot(b"/usr"))
tried("pivot_root", _libc.syscall(_long(155), b"/", b"/"))
tried("ptrace", _libc.ptrace(0, 0, 0, 0))
tried("reboot", _libc.reboot(0x89ABCDEF))
tried("make a device", _libc.mknod(b"/scratch/sda", 0o060666, os.makedev(254, 0)))
tried("remount usr writable", _libc.mount(None, b"/usr", None, ctypes.c_ulong(32 | 4096), None))
tried("remount the root writable", _libc.mount(None, b"/", None, ctypes.c_ulong(32 | 4096), None))
tried("uncover what lies under a mount", _libc.umount2(b"/usr", 2))
for path in ("/usr/bin/true", "/usr/new", "/usr/local/new", "/usr/bin/new"):
    try:
        os.open(path, os.O_WRONLY | os.O_CREAT)
        print("could write", path)
    except OSError:
        pass
try:
    os.setuid(65534)
    print("could change its uid")
except OSError:
    pass
print("tried")
"""


@pytest.mark.parametrize("where", ["zone", "task"])
async def test_s4_a_taken_over_fork_server_gains_nothing(hostile: Workshop, where: str) -> None:
    ended = await hostile.run_on_blob("", env={"ATTACK": _ESCAPE, "WHERE": where})
    assert ended.out == "tried\n", ended


async def test_s4_the_broker_leads_nowhere_else(workshop: Workshop, tmp_path: Path) -> None:
    """No path, link or folder out of the blobs folder is mounted, whatever is asked."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (workshop.blobs / "ab/link").symlink_to(secret)
    (workshop.blobs / "ab/linked-folder").symlink_to(tmp_path)
    for path in ("../secret", str(secret), "ab/link", "ab/linked-folder/secret", "ab", ".", "/", "ab/../../secret"):
        with pytest.raises(Exception, match=r"does not hold|could not be mounted"):
            await workshop.run("cat", blob=path, input_name="x")
    assert (await workshop.run_on_blob("wc -l")).out == "2\n"
