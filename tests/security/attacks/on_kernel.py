"""Attacks on the kernel's surface: privileges, namespaces, and calls that breakouts were built on."""

from tests.security.attacks.attack import Attack

_NAMESPACES = {
    "mount": 0x20000,
    "cgroup": 0x2000000,
    "host name": 0x4000000,
    "ipc": 0x8000000,
    "user": 0x10000000,
    "pid": 0x20000000,
    "network": 0x40000000,
}
_REFUSED = {
    "io_uring_setup": "8, bytes(120)",
    "userfaultfd": "0",
    "bpf": "0, bytes(120), 120",
    "perf_event_open": "bytes(120), 0, -1, -1, 0",
    "keyctl": "1, b'session'",
    "add_key": "b'user', b'name', b'x', 1, -3",
    "request_key": "b'user', b'name', 0, 0",
    "open_by_handle_at": "-100, bytes(16), 0",
    "name_to_handle_at": "-100, b'/', bytes(144), bytes(8), 0",
    "fanotify_init": "0, 0",
    "lookup_dcookie": "0, bytes(64), 64",
    "ptrace": "0, 0, 0, 0",
    "process_vm_readv": "1, bytes(16), 1, bytes(16), 1, 0",
    "pidfd_getfd": "0, 0, 0",
    "setns": "0, 0",
    "pivot_root": "b'/', b'/scratch'",
    "chroot": "b'/usr'",
    "mount": "b'none', b'/scratch', b'tmpfs', 0, 0",
    "umount2": "b'/scratch', 2",
    "fsopen": "b'tmpfs', 0",
    "fsmount": "0, 0, 0",
    "move_mount": "0, b'', -100, b'/scratch', 4",
    "open_tree": "-100, b'/', 1",
    "mount_setattr": "-100, b'/', 0, bytes(32), 32",
    "kexec_load": "0, 0, 0, 0",
    "init_module": "b'', 0, b''",
    "finit_module": "0, b'', 0",
    "delete_module": "b'ext4', 0",
    "reboot": "0xFEE1DEAD, 672274793, 0, 0",
    "swapon": "b'/scratch/swap', 0",
    "acct": "b'/scratch/acct'",
    "quotactl": "0, 0, 0, 0",
    "syslog": "3, bytes(100), 100",
    "sethostname": "b'owned', 5",
    "setdomainname": "b'owned', 5",
    "settimeofday": "bytes(16), 0",
    "clock_settime": "0, bytes(16)",
    "adjtimex": "bytes(256)",
    "vhangup": "",
    "mbind": "0, 0, 0, 0, 0, 0",
    "migrate_pages": "0, 0, 0, 0",
}
_ABSENT = {
    "clone3": "bytes(88), 88",
    "memfd_create": "b'x', 0",
    "memfd_secret": "0",
    "landlock_create_ruleset": "0, 0, 1",
    "shmat": "0, 0, 0",
    "io_setup": "1, bytes(8)",
    "vmsplice": "1, 0, 0, 0",
    "modify_ldt": "0, 0, 0",
    "remap_file_pages": "0, 0, 0, 0, 0",
    "process_mrelease": "0, 0",
    "map_shadow_stack": "0, 4096, 1",
    "statmount": "bytes(24), bytes(512), 512, 0",
    "listmount": "bytes(24), bytes(512), 64, 0",
    "lsm_set_self_attr": "100, bytes(32), 32, 0",
    "file_setattr": "-100, os.fsencode(INPUT), bytes(24), 24, 0",
}
_X86 = "import platform\nplatform.machine() == 'x86_64' or held('another processor')\n"

ATTACKS = (
    *(Attack(name, f"call({name!r}, {given})", "EPERM") for name, given in _REFUSED.items()),
    *(Attack(name, f"call({name!r}, {given})", "ENOSYS") for name, given in _ABSENT.items()),
    *(
        Attack(f"unshare of the {name} namespace", f"call('unshare', {flag})", "EPERM")
        for name, flag in _NAMESPACES.items()
    ),
    *(
        Attack(
            f"clone of the {name} namespace",
            f"os.getpid() if call('clone', {flag} | 17, 0, 0, 0, 0) else os._exit(0)",
            "EPERM",
        )
        for name, flag in _NAMESPACES.items()
    ),
    Attack("unshare of the time namespace", "call('unshare', 0x80)", "EPERM"),
    Attack("a namespace by the unshare program", "run('unshare', '-r', 'true')", "refused"),
    *(
        Attack(f"become uid {uid} by {name}", f"os.{name}({arguments})", "EPERM|EINVAL")
        for uid, name, arguments in (
            (1, "setuid", "1"),
            (1, "setgid", "1"),
            (65534, "setresuid", "65534, 65534, 65534"),
            (1, "setgroups", "[1]"),
            (1000, "setreuid", "1000, 1000"),
        )
    ),
    Attack("take capabilities", "call('capset', struct.pack('<Ii', 0x20080522, 0), b'\\xff' * 24)", "EPERM"),
    Attack("raise an ambient capability", "libc.prctl(47, 2, 21, 0, 0) and held('EPERM')", "EPERM"),
    Attack("unlock its secure bits", "libc.prctl(28, 0, 0, 0, 0) and held('EPERM')", "EPERM"),
    Attack("allow new privileges", "libc.prctl(38, 0, 0, 0, 0) and held('EINVAL')", "EINVAL"),
    Attack(
        "gain by a set-uid program",
        "import shutil\nshutil.copy('/usr/bin/id', '/scratch/id')\nos.chmod('/scratch/id', 0o6755)\nprint(run('/scratch/id', '-u')) if os.stat('/scratch/id').st_uid != os.getuid() else held('nobody else to become')",
        "nobody else to become|EPERM",
    ),
    Attack(
        "gain by the host's set-uid programs",
        "held('no new privileges') if 'NoNewPrivs:\\t1' in open('/proc/self/status').read() else 0",
        "no new privileges",
    ),
    Attack(
        "file capabilities",
        "open('/scratch/capable', 'w').close()\nos.setxattr('/scratch/capable', 'security.capability', struct.pack('<IIIII', 0x02000001, 0xffffffff, 0, 0xffffffff, 0))",
        "EPERM|ENOTSUP",
    ),
    Attack("turn its filter off", "libc.prctl(22, 0, 0, 0, 0) and held('EINVAL')", "EINVAL"),
    Attack(
        "raise a limit",
        "import resource\nresource.setrlimit(resource.RLIMIT_NPROC, (1 << 20, 1 << 20))",
        "ValueError: not allowed to raise maximum limit|EPERM",
    ),
    Attack("be more important", "os.setpriority(os.PRIO_PROCESS, 0, -5)", "EACCES|EPERM"),
    Attack("run in real time", "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))", "EPERM"),
    Attack("read and write first", "call('ioprio_set', 1, 0, 1 << 13)", "EPERM"),
    Attack("lock memory", "call('mmap', 0, 1 << 26, 3, 0x2022, -1, 0)", "EAGAIN|EPERM"),
    Attack("large pages", "call('mmap', 0, 1 << 21, 3, 0x40022, -1, 0)", "ENOMEM|EPERM|EINVAL"),
    Attack("type into the terminal", "fcntl.ioctl(0, 0x5412, b'x')", "EPERM"),
    Attack("paste into the terminal", "fcntl.ioctl(0, 0x541C, b'\\x02')", "EPERM"),
    Attack("change a line discipline", "fcntl.ioctl(0, 0x5423, struct.pack('<i', 2))", "EPERM"),
    Attack("a low map", "call('mmap', 0, 4096, 3, 0x32, -1, 0)", "EPERM|EACCES"),
    Attack(
        "32-bit calls",
        _X86
        + "code = mmap.mmap(-1, 4096, prot=7)\ncode.write(bytes.fromhex('b814000000cd80c3'))\nctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()",
        "SIGSYS|SIGSEGV|another processor",
    ),
    Attack("calls of the x32 kind", _X86 + "libc.syscall(ctypes.c_long(0x40000000 | 39))", "SIGSYS|another processor"),
    Attack("an odd personality", "call('personality', 0x0400000 | 0x0100000)", "EPERM"),
    Attack("ports of the machine", _X86 + "call('iopl', 3)", "EPERM|another processor"),
)
