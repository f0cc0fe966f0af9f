"""Attacks on the input: change it, delete it, or keep the store from using it."""

from tests.security.attacks.attack import Attack

_LINK = "/scratch/link"
_OWN_LINK = "a link in scratch"
_PATHS = {
    "its name": "INPUT",
    "/proc/self/fd/0": "'/proc/self/fd/0'",
    "/proc/thread-self/fd/0": "'/proc/thread-self/fd/0'",
    "/dev/stdin": "'/dev/stdin'",
    "/dev/fd/0": "'/dev/fd/0'",
    "/proc/self/root": "'/proc/self/root' + INPUT",
    "/proc/self/cwd": "'/proc/self/cwd/..' + INPUT",
    "an O_PATH descriptor": "f'/proc/self/fd/{os.open(INPUT, os.O_PATH)}'",
    _OWN_LINK: f"(os.symlink(INPUT, '{_LINK}'), '{_LINK}')[1]",
    "/proc/1/fd/0": "'/proc/1/fd/0'",
    "/proc/1/root": "'/proc/1/root' + INPUT",
    "/proc/1/cwd": "'/proc/1/cwd/..' + INPUT",
}
_READ_ONLY = "EROFS|EACCES|EPERM"
_VERBS = {
    "open to read and write": ("os.open({path}, os.O_RDWR)", _READ_ONLY),
    "open to write": ("os.open({path}, os.O_WRONLY)", _READ_ONLY),
    "open to truncate": ("os.open({path}, os.O_WRONLY | os.O_TRUNC)", _READ_ONLY),
    "open to append": ("os.open({path}, os.O_WRONLY | os.O_APPEND)", _READ_ONLY),
    "truncate": ("os.truncate({path}, 0)", _READ_ONLY),
    "chmod": ("os.chmod({path}, 0o666)", _READ_ONLY),
    "chown": ("os.chown({path}, 0, 0)", _READ_ONLY),
    "set the times": ("os.utime({path}, (0, 0))", _READ_ONLY),
    "set an attribute": ("os.setxattr({path}, 'user.manta', b'x')", _READ_ONLY),
    "remove an attribute": ("os.removexattr({path}, 'user.manta')", _READ_ONLY),
    "link out": ("call('linkat', -100, os.fsencode({path}), -100, b'/scratch/linked', 0x400)", "EXDEV|EACCES|EPERM"),
}
_OF_THE_NAME = {
    "unlink": ("os.unlink({path})", _READ_ONLY + "|EBUSY"),
    "rename away": ("os.rename({path}, '/scratch/taken')", "EXDEV|EACCES|EPERM"),
    "rename another over": (
        "open('/scratch/new', 'w').close()\nos.rename('/scratch/new', {path})",
        "EXDEV|EACCES|EPERM",
    ),
}
"""These act on a link itself, and the attacker's own is his to remove."""
_BY_EVERY_PATH = tuple(
    Attack(
        f"{verb} by {place}",
        f"os.path.lexists('{_LINK}') and os.unlink('{_LINK}')\n" + code.format(path=path),
        ends,
    )
    for place, path in _PATHS.items()
    for verb, (code, ends) in (_VERBS if place == _OWN_LINK else _VERBS | _OF_THE_NAME).items()
)

ATTACKS = (
    *_BY_EVERY_PATH,
    Attack("write to stdin", "os.write(0, b'x')", "EBADF"),
    Attack("pwrite to stdin", "os.pwrite(0, b'x', 0)", "EBADF"),
    Attack("ftruncate", "os.ftruncate(0, 0)", "EINVAL"),
    Attack("fallocate", "os.posix_fallocate(0, 0, 10_000)", "EBADF"),
    Attack("punch a hole", "call('fallocate', 0, 3, 0, 10)", "EBADF"),
    Attack(
        "map it shared and writable", "mmap.mmap(0, 10, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)", "EACCES"
    ),
    Attack(
        "make a shared map writable",
        "address = call('mmap', 0, 4096, 1, 1, 0, 0)\ncall('mprotect', address, 4096, 3)",
        "EACCES",
    ),
    Attack("copy_file_range into it", "os.copy_file_range(os.open('/etc/passwd', os.O_RDONLY), 0, 10)", "EBADF"),
    Attack("sendfile into it", "os.sendfile(0, os.open('/etc/passwd', os.O_RDONLY), 0, 10)", "EBADF"),
    Attack("splice into it", "r, w = os.pipe()\nos.write(w, b'x')\nos.splice(r, 0, 1)", "EBADF"),
    Attack(
        "clone another file over it",
        "fcntl.ioctl(0, 0x40049409, os.open('/etc/passwd', os.O_RDONLY))",
        "EBADF|ENOTSUP|EXDEV",
    ),
    Attack("set its inode flags", "fcntl.ioctl(0, 0x40086602, struct.pack('<l', 0x10))", "EROFS|EPERM|EACCES|ENOTSUP"),
    Attack("change its generation", "fcntl.ioctl(0, 0x40087602, struct.pack('<l', 1))", "EPERM|EROFS|EACCES"),
    Attack(
        "defragment the file system", "fcntl.ioctl(0, 0xC028660F, bytes(40))", "EBADF|EPERM|EINVAL|EROFS|EACCES|ENOTTY"
    ),
    Attack("shut the file system down", "fcntl.ioctl(0, 0x8004587D, struct.pack('<I', 2))", "EPERM"),
    Attack("freeze the file system", "fcntl.ioctl(0, 0xC0045877, 0)", "EPERM"),
    Attack("fchmod", "os.fchmod(0, 0o666)", "EROFS"),
    Attack("fchown", "os.fchown(0, 0, 0)", "EROFS"),
    Attack("set its times by descriptor", "os.utime(0, (0, 0))", "EROFS"),
    Attack("chmod an empty path", "call('fchmodat2', 0, b'', 0o666, 0x1000)", "EROFS|ENOSYS"),
    Attack("chown an empty path", "call('fchownat', 0, b'', 0, 0, 0x1000)", "EROFS"),
    Attack(
        "set an attribute of an empty path",
        "value = ctypes.create_string_buffer(b'x')\n"
        "call('setxattrat', 0, b'', 0x1000, b'user.manta', struct.pack('<QII', ctypes.addressof(value), 1, 0), 16)",
        "EROFS|ENOSYS",
    ),
    Attack(
        "remove an attribute of an empty path", "call('removexattrat', 0, b'', 0x1000, b'user.manta')", "EROFS|ENOSYS"
    ),
    Attack(
        "seal it by verity",
        "fcntl.ioctl(0, 0x40806685, struct.pack('<IIIIQIIQ', 1, 1, 4096, 0, 0, 0, 0, 0) + bytes(88))",
        "EROFS|EACCES|EPERM|ENOTSUP|ENOTTY",
    ),
    Attack("set its project", "fcntl.ioctl(0, 0x401C5820, bytes(28))", "EROFS|EPERM|EACCES|ENOTSUP|ENOTTY"),
    Attack("say how long it is to live", "call('fcntl', 0, 1036, struct.pack('<Q', 5))", "EPERM"),
    *(
        Attack(f"set a {space} attribute by {how}", f"os.setxattr({target}, '{space}.manta', b'x')", "EROFS|EPERM")
        for space in ("user", "trusted", "security")
        for how, target in (("name", "INPUT"), ("descriptor", "0"))
    ),
    Attack(
        "remove the store's checksum",
        "os.removexattr(INPUT, os.listxattr(INPUT)[0])",
        "EROFS|IndexError: list index out of range",
    ),
    Attack("rename in place", "os.rename(INPUT, '/input/other')", "EROFS|EBUSY"),
    Attack(
        "exchange it for another file",
        "open('/scratch/new', 'w').close()\ncall('renameat2', -100, b'/scratch/new', -100, os.fsencode(INPUT), 2)",
        "EXDEV",
    ),
    Attack("link an empty path", "call('linkat', 0, b'', -100, b'/scratch/linked', 0x1000)", "ENOENT|EXDEV"),
    Attack("make a file beside it", "os.open('/input/other', os.O_CREAT | os.O_WRONLY)", "EROFS"),
    Attack("make an unnamed file beside it", "os.open('/input', os.O_TMPFILE | os.O_WRONLY)", "EROFS"),
    Attack("make a folder beside it", "os.mkdir('/input/folder')", "EROFS"),
    Attack("remove its folder", "os.rmdir('/input')", "EBUSY|EROFS|EACCES"),
    Attack("mount over it", "call('mount', b'none', os.fsencode(INPUT), b'tmpfs', 0, 0)", "EPERM"),
    Attack(
        "bind it elsewhere",
        "open('/scratch/b', 'w').close()\ncall('mount', os.fsencode(INPUT), b'/scratch/b', 0, 4096, 0)",
        "EPERM",
    ),
    Attack("remount it writable", "call('mount', 0, os.fsencode(INPUT), 0, 32 | 4096, 0)", "EPERM"),
    Attack("unmount it", "call('umount2', os.fsencode(INPUT), 2)", "EPERM"),
    Attack("copy its mount", "call('open_tree', -100, os.fsencode(INPUT), 1)", "EPERM"),
    Attack(
        "clear its mount's flags",
        "call('mount_setattr', -100, os.fsencode(INPUT), 0, struct.pack('<QQQQ', 0, 7, 0, 0), 32)",
        "EPERM",
    ),
    Attack("take a lease that blocks the store", "fcntl.fcntl(0, 1024, fcntl.F_WRLCK)", "EPERM"),
    Attack("take a read lease", "fcntl.fcntl(0, 1024, fcntl.F_RDLCK)", "EPERM"),
    Attack("lock it for writing", "fcntl.lockf(0, fcntl.LOCK_EX | fcntl.LOCK_NB)", "EBADF"),
    Attack("make it swap", "call('swapon', os.fsencode(INPUT), 0)", "EPERM"),
    Attack("make it the accounting file", "call('acct', os.fsencode(INPUT))", "EPERM"),
    Attack("handle of it", "call('name_to_handle_at', 0, b'', bytes(144), bytes(8), 0x1000)", "EPERM"),
    Attack("walk up from it", "print(os.listdir('/proc/self/fd/0/..'))", "ENOTDIR"),
    Attack("execute it", "os.chmod(INPUT, 0o755)", "EROFS"),
)
