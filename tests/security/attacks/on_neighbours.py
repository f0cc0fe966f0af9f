"""Attacks on other tasks: of another account, of the same account, and of the task before in the same zone.

While they run, a victim of another account and one of the attacker's own run on the node: each with a secret in its
environment and its scratch, a socket with a name, and a child. The task before left what it could behind.
"""

from tests.security.attacks.attack import Attack

_EVERY_PROCESS = "[name for name in os.listdir('/proc') if name.isdigit()]"
_TAIL = "\nheld('none is seen')"

ATTACKS = (
    Attack(
        "see a process that is not the task's",
        f"known = {{'forkserver', 'bash', 'python3', 'sh'}}\n"
        f"for pid in {_EVERY_PROCESS}:\n    if open(f'/proc/{{pid}}/comm').read().strip() not in known: raise SystemExit(pid)"
        + _TAIL,
        "none is seen",
    ),
    Attack(
        "read the environment of another",
        f"for pid in {_EVERY_PROCESS}:\n"
        "    try:\n        text = open(f'/proc/{pid}/environ', 'rb').read()\n    except OSError:\n        continue\n"
        "    if FACTS['secret'][::-1].encode() in text: raise SystemExit(pid)" + _TAIL,
        "none is seen",
    ),
    *(
        Attack(f"{name} of a neighbour by the host's number", f"for pid in FACTS['pids']:\n    {code}", "ESRCH|ENOENT")
        for name, code in (
            ("signal to", "os.kill(pid, 9)"),
            ("process folder", "os.listdir(f'/proc/{pid}')"),
            ("memory", "os.open(f'/proc/{pid}/mem', os.O_RDWR)"),
            ("root folder", "os.listdir(f'/proc/{pid}/root')"),
            ("descriptor", "call('pidfd_open', pid, 0)"),
            ("priority", "os.setpriority(os.PRIO_PROCESS, pid, 19)"),
            ("cpus", "os.sched_setaffinity(pid, {0})"),
            ("limits", "call('prlimit64', pid, 7, 0, bytes(16))"),
            ("scheduling", "os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))"),
        )
    ),
    Attack(
        "slow down all of the uid's processes",
        "os.setpriority(os.PRIO_USER, 0, 0)\nheld('its own alone')",
        "its own alone|EACCES",
    ),
    *(
        Attack(f"{name} of a neighbour", f"for pid in FACTS['pids']:\n    {code}", "EPERM")
        for name, code in (
            ("ptrace", "call('ptrace', 16, pid, 0, 0)"),
            ("reading the memory", "call('process_vm_readv', pid, bytes(16), 1, bytes(16), 1, 0)"),
            ("writing the memory", "call('process_vm_writev', pid, bytes(16), 1, bytes(16), 1, 0)"),
            ("comparing kernel objects", "call('kcmp', 1, pid, 0, 0, 0)"),
            ("moving the pages", "call('move_pages', pid, 0, 0, 0, 0, 0)"),
        )
    ),
    *(
        Attack(
            f"connect to the abstract socket of a neighbour ({whose})",
            f"socket.socket(socket.AF_UNIX).connect('\\0' + FACTS['socket'] + '{whose}')",
            "ECONNREFUSED",
        )
        for whose in ("-other", "-own")
    ),
    Attack(
        "find a neighbour's socket",
        "text = open('/proc/net/unix').read()\nheld('none is listed') if FACTS['socket'] not in text else 0",
        "none is listed",
    ),
    Attack("find a neighbour's scratch", "search('/scratch', FACTS['secret'][::-1].encode())", "not found"),
    Attack(
        "find a neighbour's secret in any folder",
        "for folder in ('/tmp', '/var', '/dev', '/run', '/zone', '/etc', '/input'):\n    search(folder + '/', FACTS['secret'][::-1].encode())",
        "not found",
    ),
    Attack(
        "a file that the task before left",
        "held('nothing is left') if os.listdir('/scratch/') in ([], ['link']) else 0",
        "nothing is left",
    ),
    Attack("a message queue that the task before left", "call('mq_open', b'left', 2, 0, 0)", "ENOENT"),
    Attack(
        "a socket that the task before left",
        "socket.socket(socket.AF_UNIX).connect('\\0' + FACTS['left'])",
        "ECONNREFUSED",
    ),
    Attack(
        "a daemon that the task before left",
        "held('none is seen') if len([1 for pid in os.listdir('/proc') if pid.isdigit()]) <= 5 else 0",
        "none is seen",
    ),
    Attack("System V memory", "call('shmget', 1234, 4096, 0o1666)", "ENOSYS"),
    Attack("System V messages", "call('msgget', 1234, 0o1666)", "ENOSYS"),
    Attack("System V semaphores", "call('semget', 1234, 1, 0o1666)", "ENOSYS"),
    Attack("listen to the keys of another", "call('keyctl', 0, -3, 0)", "EPERM"),
    Attack("another task's namespaces", "call('setns', os.open('/proc/1/ns/pid', os.O_RDONLY), 0)", "EACCES|EPERM"),
    Attack("the fork server's memory", "os.open('/proc/1/mem', os.O_RDWR)", "EACCES|EPERM"),
    Attack("the fork server's descriptors", "os.readlink('/proc/1/fd/1')", "EACCES|EPERM"),
    Attack("the fork server's environment", "open('/proc/1/environ').read()", "EACCES|EPERM"),
    Attack("the fork server's maps", "open('/proc/1/maps').read()", "EACCES|EPERM"),
    Attack("the fork server's program", "os.readlink('/proc/1/exe')", "EACCES|EPERM"),
    Attack("the end of the zone by its first process", "os.kill(1, 9)\ntime.sleep(0.1)\nheld('it lives')", "it lives"),
    Attack(
        "descriptors that leaked",
        "held('none') if sorted(os.listdir('/proc/self/fd'), key=int)[:3] == ['0', '1', '2'] and not any(os.readlink(f'/proc/self/fd/{number}').startswith(('socket:', '/memfd', 'anon')) for number in os.listdir('/proc/self/fd') if os.path.lexists(f'/proc/self/fd/{number}')) else 0",
        "none",
    ),
)
