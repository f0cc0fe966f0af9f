"""Which system calls a task and its fork server may make, and which are refused by name. Pure.

ALLOWED is the base list: what a shell, coreutils, awk, perl, Python with threads and processes, numpy, SQLite, tar,
git, a compiler and a text's sort need; it began as the default profile of container engines (moby's) and lost what none
of those needs. Anything in no list does not exist for a task: ENOSYS, the answer of an older kernel, after which C
libraries take their older way. What NEVER and MOUNTING name is refused with EPERM, since programs ask for it by intent.
"""

from typing import Final


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ALLOWED: Final = _names(
    # files by descriptor
    "read write pread64 pwrite64 readv writev preadv pwritev preadv2 pwritev2 lseek close close_range dup dup2 "
    "dup3 pipe pipe2 fcntl ioctl flock fsync fdatasync sync syncfs sync_file_range truncate ftruncate fallocate "
    "fadvise64 readahead sendfile splice tee copy_file_range cachestat "
    # files by name, and folders
    "open openat openat2 creat access faccessat faccessat2 stat lstat fstat newfstatat statx statfs fstatfs "
    "getdents getdents64 getcwd chdir fchdir mkdir mkdirat rmdir rename renameat renameat2 link linkat unlink "
    "unlinkat symlink symlinkat readlink readlinkat mknod mknodat chmod fchmod fchmodat fchmodat2 chown fchown "
    "lchown fchownat umask utime utimes futimesat utimensat setxattr lsetxattr fsetxattr setxattrat getxattr "
    "lgetxattr fgetxattr getxattrat listxattr llistxattr flistxattr listxattrat removexattr lremovexattr "
    "fremovexattr removexattrat inotify_init inotify_init1 inotify_add_watch inotify_rm_watch "
    # memory
    "brk mmap munmap mremap mprotect madvise msync mincore mlock mlock2 munlock mlockall munlockall membarrier "
    "mseal pkey_alloc pkey_free pkey_mprotect "
    # processes and threads
    "clone fork vfork execve execveat exit exit_group wait4 waitid getpid getppid gettid getpgid setpgid getpgrp "
    "getsid setsid set_tid_address arch_prctl prctl personality getcpu pidfd_open pidfd_send_signal kill tkill "
    "tgkill rseq restart_syscall futex futex_waitv futex_wake futex_wait futex_requeue set_robust_list "
    "get_robust_list "
    # signals
    "rt_sigaction rt_sigprocmask rt_sigpending rt_sigtimedwait rt_sigqueueinfo rt_tgsigqueueinfo rt_sigsuspend "
    "rt_sigreturn sigaltstack signalfd signalfd4 pause alarm getitimer setitimer "
    # who one is; nobody here may become another
    "getuid geteuid getgid getegid getresuid getresgid getgroups setuid setgid setreuid setregid setresuid "
    "setresgid setgroups setfsuid setfsgid capget capset seccomp "
    # limits and the scheduler
    "getrlimit setrlimit prlimit64 getrusage times sysinfo uname getpriority setpriority ioprio_get ioprio_set "
    "sched_yield sched_getaffinity sched_setaffinity sched_getscheduler sched_setscheduler sched_getparam "
    "sched_setparam sched_getattr sched_setattr sched_get_priority_max sched_get_priority_min "
    "sched_rr_get_interval "
    # time
    "time gettimeofday clock_gettime clock_getres nanosleep clock_nanosleep timer_create timer_settime "
    "timer_gettime timer_getoverrun timer_delete timerfd_create timerfd_settime timerfd_gettime "
    # waiting
    "select pselect6 poll ppoll epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd "
    "eventfd2 "
    # sockets, of the families that seccomp.py names
    "socket socketpair bind listen accept accept4 connect getsockname getpeername getsockopt setsockopt shutdown "
    "sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg "
    # POSIX message queues, which RLIMIT_MSGQUEUE bounds
    "mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr "
    # randomness
    "getrandom "
)
"""Not among them, besides the unheard-of: what makes memory that no rlimit counts, where cgroups do not hold.

memfd_create (C libraries and Python take files in /dev/shm then, which is scratch) and all of System V's IPC.
"""
NEVER: Final = _names(
    # kernel surface that a task has no use for and that breakouts were built on
    "io_uring_setup io_uring_enter io_uring_register userfaultfd bpf perf_event_open add_key request_key keyctl "
    "lookup_dcookie fanotify_init fanotify_mark "
    # reaching into other processes, or to files past their mounts
    "ptrace process_vm_readv process_vm_writev process_madvise pidfd_getfd kcmp open_by_handle_at "
    "name_to_handle_at "
    # new or other namespaces, roots
    "unshare setns pivot_root chroot open_tree_attr "
    # the machine's own
    "kexec_load kexec_file_load init_module finit_module delete_module create_module swapon swapoff reboot "
    "quotactl quotactl_fd acct syslog vhangup iopl ioperm settimeofday clock_settime adjtimex clock_adjtime "
    "sethostname setdomainname mbind set_mempolicy migrate_pages move_pages nfsservctl uselib sysfs ustat "
)
MOUNTING: Final = _names("mount umount2 fsopen fsconfig fsmount fspick move_mount open_tree mount_setattr")
"""What the fork server needs to build a task, and the task may not."""
