"""Attacks on the host's files, devices, kernel settings and control groups."""

from tests.security.attacks.attack import Attack

_NO_FILE = (
    "/etc/shadow",
    "/etc/ssh",
    "/root",
    "/home",
    "/boot",
    "/var/lib",
    "/var/log",
    "/run/systemd",
    "/srv",
    "/mnt",
    "/opt",
)
_NO_DEVICE = (
    *("sda", "vda", "nvme0n1", "mem", "kmem", "port", "kmsg", "tty", "tty0", "console", "ptmx", "pts", "loop-control"),
    *(
        "loop0",
        "fuse",
        "kvm",
        "net/tun",
        "mapper/control",
        "dri",
        "snd",
        "input",
        "cpu_dma_latency",
        "userfaultfd",
        "hpet",
    ),
)
_SETTINGS = (
    *(
        "kernel/core_pattern",
        "kernel/hostname",
        "kernel/modprobe",
        "kernel/sysrq",
        "kernel/ns_last_pid",
        "kernel/panic",
    ),
    *("vm/drop_caches", "vm/overcommit_memory", "vm/panic_on_oom", "fs/file-max", "fs/protected_hardlinks"),
    *(
        "user/max_user_namespaces",
        "net/ipv4/ip_forward",
        "net/core/somaxconn",
        "kernel/domainname",
        "kernel/perf_event_paranoid",
    ),
)
_OWN_FILES = ("uid_map", "gid_map", "setgroups", "projid_map", "loginuid", "timens_offsets")

OWN_SETTINGS = ("fs/mqueue/msg_max", "fs/mqueue/queues_max", "kernel/shmmni", "kernel/msgmni")
"""Of the IPC namespace, which each task has for itself: the host's stay as they are."""

ATTACKS = (
    *(Attack(f"see {path}", f"os.stat({path!r})", "ENOENT") for path in _NO_FILE),
    *(
        Attack(f"see the store's {what}", f"os.stat(FACTS['data'] + {rest!r})", "ENOENT")
        for what, rest in (
            ("folder", ""),
            ("credentials", "/credentials"),
            ("catalog", "/catalog.db"),
            ("volumes", "/nodes"),
        )
    ),
    Attack("see the agent's state", "os.stat(FACTS['data'] + '/nodes/node-1/sandbox')", "ENOENT"),
    Attack("see the other doors", "os.listdir('/run') == ['manta.sock'] and held('its own alone')", "its own alone"),
    Attack(
        "find the store's keys",
        "for folder in ('/etc', '/run', '/manta', '/zone', '/var/'):\n    search(folder, FACTS['key'][::-1].encode())",
        "not found",
    ),
    Attack(
        "find the store's keys in the environment",
        "held('not there') if FACTS['key'][::-1] not in str(os.environ) else 0",
        "not there",
    ),
    *(
        Attack(f"write {path}", f"os.open({path!r}, os.O_WRONLY | {flags})", ends)
        for path, flags, ends in (
            ("/usr/bin/env", "0", "EROFS|EACCES"),
            ("/usr/bin/new", "os.O_CREAT", "EROFS"),
            ("/bin/sh", "os.O_TRUNC", "EROFS|EACCES"),
            ("/etc/passwd", "0", "EROFS|EACCES"),
            ("/etc/new", "os.O_CREAT", "EROFS"),
            ("/new", "os.O_CREAT", "EROFS"),
            ("/manta/bin/mpipe", "os.O_TRUNC", "EROFS|EACCES"),
            ("/run/new", "os.O_CREAT", "EROFS"),
            ("/zone/new", "os.O_CREAT", "EROFS"),
            ("/dev/new", "os.O_CREAT", "EROFS"),
            ("/proc/new", "os.O_CREAT", "ENOENT|EACCES"),
        )
    ),
    Attack("replace the agent's socket", "os.unlink('/run/manta.sock')", "EBUSY|EROFS|EACCES"),
    Attack("rename the agent's socket", "os.rename('/run/manta.sock', '/scratch/sock')", "EXDEV|EBUSY|EROFS"),
    Attack("chmod the agent's socket", "os.chmod('/run/manta.sock', 0)", "EROFS|EPERM"),
    *(Attack(f"see /dev/{name}", f"os.stat('/dev/{name}')", "ENOENT") for name in _NO_DEVICE),
    *(
        Attack(
            f"make a {kind} device",
            f"os.mknod('/scratch/device-{kind}', stat.S_IF{letters} | 0o666, os.makedev({numbers}))",
            "EPERM",
        )
        for kind, letters, numbers in (("memory", "CHR", "1, 1"), ("disk", "BLK", "8, 0"), ("loop", "BLK", "7, 0"))
    ),
    Attack("chmod a device", "os.chmod('/dev/null', 0)", "EPERM|EROFS"),
    Attack("use the terminal", "os.open('/dev/tty', os.O_RDWR)", "ENOENT|ENXIO"),
    *(Attack(f"set {name}", f"write_to('/proc/sys/{name}')", "EACCES|EPERM|EROFS|ENOENT") for name in _SETTINGS),
    *(
        Attack(
            f"set {name}",
            f"write = os.open('/proc/sys/{name}', os.O_WRONLY)\nos.write(write, b'77')\nheld('its own')",
            "its own|EPERM|EACCES|EROFS|ENOENT",
        )
        for name in OWN_SETTINGS
    ),
    *(
        Attack(f"write its own {name}", f"write_to('/proc/self/{name}')", "EPERM|EACCES|ENOENT|EINVAL")
        for name in _OWN_FILES
    ),
    Attack(
        "escape the OOM killer",
        "write = os.open('/proc/self/oom_score_adj', os.O_WRONLY)\nos.write(write, b'-1000')",
        "EACCES",
    ),
    Attack("press a key of sysrq", "write_to('/proc/sysrq-trigger')", "EACCES|EPERM|ENOENT"),
    Attack("read kernel memory", "os.open('/proc/kcore', os.O_RDONLY)", "EACCES|EPERM|ENOENT"),
    Attack("read the kernel's messages", "os.open('/proc/kmsg', os.O_RDONLY)", "EACCES|EPERM"),
    Attack(
        "read kernel addresses",
        "lines = open('/proc/kallsyms').read(4096).split('\\n')[:9]\nheld('zeros') if all(int(line.split()[0], 16) == 0 for line in lines) else 0",
        "zeros|EACCES|ENOENT",
    ),
    Attack(
        "read physical pages",
        "pages = os.open('/proc/self/pagemap', os.O_RDONLY)\nframe = struct.unpack('<Q', os.pread(pages, 8, id(pages) // 4096 * 8))[0] & ((1 << 55) - 1)\nheld('hidden') if frame == 0 else 0",
        "hidden|EPERM|EACCES",
    ),
    Attack("bind an interpreter", "write_to('/proc/sys/fs/binfmt_misc/register')", "ENOENT|EACCES|EPERM"),
    Attack("move an interrupt", "write_to('/proc/irq/default_smp_affinity')", "EACCES|EPERM|ENOENT"),
    Attack("change memory types", "write_to('/proc/mtrr')", "EACCES|EPERM|ENOENT"),
    Attack("see /sys", "os.stat('/sys')", "ENOENT"),
    Attack("see control groups", "os.stat('/sys/fs/cgroup')", "ENOENT"),
    Attack(
        "mount control groups",
        "os.mkdir('/scratch/groups')\ncall('mount', b'cgroup', b'/scratch/groups', b'cgroup2', 0, 0)",
        "EPERM",
    ),
    Attack(
        "mount /proc anew",
        "os.mkdir('/scratch/proc')\ncall('mount', b'proc', b'/scratch/proc', b'proc', 0, 0)",
        "EPERM",
    ),
    Attack("open a new file system", "call('fsopen', b'cgroup2', 0)", "EPERM"),
    Attack(
        "leave by a folder above the root",
        "held('the same') if os.stat('/..').st_ino == os.stat('/').st_ino else 0",
        "the same",
    ),
    Attack("leave by /proc/1/root", "os.listdir('/proc/1/root')", "EACCES|EPERM"),
    Attack("leave by /proc/1/cwd", "os.listdir('/proc/1/cwd')", "EACCES|EPERM"),
    Attack(
        "leave by an open folder",
        "held('no folder is open') if not any(os.path.isdir(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd') if n not in '012') else 0",
        "no folder is open",
    ),
    Attack("dump core on the host", "run('/bin/sh', '-c', 'ulimit -c unlimited')", "refused"),
)
