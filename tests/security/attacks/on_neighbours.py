"""Attacks on other tasks: of another account, of the same account, and of the task before in the same zone.

While they run, a victim of another account and one of the attacker's own run on the node: each with a secret in its
environment and its scratch, a socket with a name, and a child. The task before left what it could behind.
"""

from tests.security.attacks.attack import Attack

ATTACKS = (
    Attack(
        "see a process that is not the task's",
        "seen = {int(name) for name in os.listdir('/proc') if name.isdigit()}\n"
        "held('its own alone' if seen == {1, os.getppid(), os.getpid()} else str(sorted(seen)))",
        "its own alone",
    ),
    Attack(
        "read the environment of another",
        "for pid in [name for name in os.listdir('/proc') if name.isdigit()]:\n"
        "    try:\n        text = open(f'/proc/{pid}/environ', 'rb').read()\n    except OSError:\n        continue\n"
        "    if FACTS['secret'][::-1].encode() in text: raise SystemExit(pid)\nheld('none is seen')",
        "none is seen",
    ),
    *(
        Attack(f"{name} of a neighbour by the host's number", f"try_each(lambda pid: {code})", ends)
        for name, code, ends in (
            ("signal to", "os.kill(pid, 9)", "ESRCH"),
            ("process folder", "os.listdir(f'/proc/{pid}')", "ENOENT"),
            ("memory", "os.open(f'/proc/{pid}/mem', os.O_RDWR)", "ENOENT"),
            ("root folder", "os.listdir(f'/proc/{pid}/root')", "ENOENT"),
            ("descriptor", "call('pidfd_open', pid, 0)", "ESRCH"),
            ("priority", "os.setpriority(os.PRIO_PROCESS, pid, 19)", "ESRCH"),
            ("group's priority", "os.setpriority(os.PRIO_PGRP, pid, 19)", "ESRCH"),
            ("cpus", "os.sched_setaffinity(pid, {0})", "ESRCH"),
            ("limits", "call('prlimit64', pid, 7, 0, bytes(16))", "ESRCH"),
            ("scheduling", "os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))", "ESRCH"),
            ("ptrace", "call('ptrace', 16, pid, 0, 0)", "EPERM"),
            ("reading the memory", "call('process_vm_readv', pid, bytes(16), 1, bytes(16), 1, 0)", "EPERM"),
            ("writing the memory", "call('process_vm_writev', pid, bytes(16), 1, bytes(16), 1, 0)", "EPERM"),
            ("comparing kernel objects", "call('kcmp', 1, pid, 0, 0, 0)", "EPERM"),
            ("moving the pages", "call('move_pages', pid, 0, 0, 0, 0, 0)", "EPERM"),
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
    Attack("descriptors that leaked", "held(GIVEN)", "0: the input, 1: pipe:, 2: pipe:"),
    Attack(  # the last, since it does slow down the harness
        "slow down all of the uid's processes",
        "os.setpriority(os.PRIO_USER, 0, 19)\nheld('those it sees')",
        "those it sees",
    ),
)
