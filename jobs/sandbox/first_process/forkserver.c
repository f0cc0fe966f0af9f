/* The fork server, first process of a zone: gives each task fresh pid, mount and ipc namespaces and awaits its end.
 *
 * Run as `forkserver [--enclose ZONE_FILTER_FD] SOCKET_FD FILTER_FD TASK_GROUP_FD INIT_GROUP_FD OWN_GROUP_FD...`;
 * protocol.py has the messages, forkserver.py is the same program in Python. It trusts its agent and is not trusted by it. Written for one thread and no heap: every buffer has its size here.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_move_mount
#define SYS_move_mount 429
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif

enum { VERSION = 3, MESSAGE_MAX = 1 << 18, ENVIRONMENT_MAX = 8192, DESCRIPTORS_MAX = 64, FILTER_MAX = 4096 };
enum { INPUTS_MAX = 256, NAME_MAX_BYTES = 255 };
enum { TASK = 1, KILL = 2, INPUTS = 3 };
enum { HELLO = 0, ENDED = 1, BROKEN = 2, TAKEN = 3 };
enum { HAS_OBJECT = 1, HAS_STDIN = 2, IS_INIT = 4, SEES_ZONE = 8, HAS_RANGE = 16, IS_PLAIN = 32, HAS_TERMINAL = 64 };
enum { HAS_INPUTS = 128 };
enum { NONE, CLONE, PROC, INPUT, SCRATCH, ZONE, STDIO, LIMITS, PRIVILEGES, FILTER, SHELL, GROUP, RANGE };
enum { FED_FROM = 3, FED_INTO = 4, PIPE_BYTES = 1 << 20 };
enum { CANNOT_EXECUTE = 126, PLAIN_MAX = 1024 };

struct request {
    uint32_t kind, flags;
    uint64_t scratch_bytes, scratch_inodes, data_bytes, address_bytes, file_bytes, range_start, range_end;
    uint32_t processes, open_files, name_size, command_size, environment_size;
} __attribute__((packed));

struct inputs {
    uint32_t kind, first, count;
} __attribute__((packed));

struct reply {
    uint32_t kind, first, second, third;
    uint64_t wall_ns, cpu_ns, peak_kib, unused;
} __attribute__((packed));

/* What the task's first process says to the fork server: a page both see, so that no descriptor is needed. */
struct shared {
    volatile uint32_t step, error, status, scratch_full;
};

struct attributes {
    uint64_t set, clear, propagation, userns;
};

static union {
    struct request header;
    char bytes[MESSAGE_MAX + 1];
} message;
static int descriptors[DESCRIPTORS_MAX];
static int descriptor_count;
static struct {
    int object;
    char name[NAME_MAX_BYTES + 1];
} inputs[INPUTS_MAX]; /* of the next task, where it has several */
static unsigned input_count;
static struct sock_filter filter_code[FILTER_MAX];
static struct sock_fprog filter;
static struct shared *shared;
static const char *shell;
static int task_group = -1, init_group = -1;

/* In the task's first process: say where it failed, and end. */
static void fail(int step) {
    shared->error = (uint32_t)errno;
    shared->step = (uint32_t)step;
    _exit(0);
}

static void need(int step, long result) {
    if (result < 0)
        fail(step);
}

/* Joins a group by its cgroup.procs that the agent opened: the kernel asks for the opener's rights, not for ours. */
static int join(int group) { return group < 0 || write(group, "0", 1) == 1 ? 0 : -1; }

/* As many as a user's multiplexer may want: the machine has so many for all. Those of uid 0 are the zone's own user's. */
#define TERMINALS "newinstance,ptmxmode=0666,mode=0620,uid=0,gid=0,max=64"

enum { READ_ONLY = 1, NO_SUID = 2, NO_DEVICES = 4 };

static long set_attributes(const char *path, uint64_t set) {
    struct attributes attributes = {.set = set};
    return syscall(SYS_mount_setattr, AT_FDCWD, path, 0, &attributes, sizeof attributes);
}

static int mount_scratch(void) {
    char options[128];
    snprintf(options, sizeof options, "size=%llu,nr_inodes=%llu,mode=0700", (unsigned long long)message.header.scratch_bytes,
             (unsigned long long)message.header.scratch_inodes);
    return mount("tmpfs", "/scratch", "tmpfs", MS_NOSUID | MS_NODEV, options);
}

static void prefer_for_oom(void) {
    int file = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    need(PROC, file);
    need(PROC, write(file, "800", 3));
    close(file);
}

static void mount_input_folder(unsigned count) {
    char options[64];
    snprintf(options, sizeof options, "size=4k,nr_inodes=%u,mode=0555", 2 + 2 * count);
    need(INPUT, mount("tmpfs", "/input", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options));
}

/* An empty file, and over it the object if there is one. */
static void place_object(int object, const char *path) {
    int file = open(path, O_CREAT | O_EXCL | O_RDONLY, 0444);
    need(INPUT, file);
    close(file);
    if (object >= 0)
        need(INPUT, syscall(SYS_move_mount, object, "", AT_FDCWD, path, 4 /* MOVE_MOUNT_F_EMPTY_PATH */));
}

/* Each in a folder of its own, since two may have the same name. */
static void attach_inputs(void) {
    mount_input_folder(input_count);
    for (unsigned place = 0; place < input_count; place++) {
        char path[32 + NAME_MAX_BYTES];
        int end = snprintf(path, sizeof path, "/input/%u", place);
        need(INPUT, mkdir(path, 0555));
        snprintf(path + end, sizeof path - (size_t)end, "/%s", inputs[place].name);
        place_object(inputs[place].object, path);
    }
    need(INPUT, set_attributes("/input", READ_ONLY));
}

/* Mounts the object under its name and opens it through that mount; a descriptor from outside could be reopened writable. */
static int attach_input(void) {
    int next = 2, object = -1, standard_input = -1;
    if (message.header.flags & HAS_OBJECT)
        object = descriptors[next++];
    if (message.header.flags & HAS_STDIN)
        standard_input = descriptors[next];
    if (message.header.flags & HAS_INPUTS)
        attach_inputs();
    if (message.header.name_size == 0)
        return standard_input >= 0 ? standard_input : open("/dev/null", O_RDONLY);

    char path[8 + NAME_MAX_BYTES + 1] = "/input/";
    if (message.header.name_size >= sizeof path - 8) {
        errno = ENAMETOOLONG;
        fail(INPUT);
    }
    memcpy(path + 7, message.bytes + sizeof message.header, message.header.name_size);
    mount_input_folder(1);
    place_object(object, path);
    need(INPUT, set_attributes("/input", READ_ONLY));
    return standard_input >= 0 ? standard_input : open(path, O_RDONLY);
}

/* The object, now stdin, becomes FED_FROM; stdin is a pipe instead, whose other end is FED_INTO. */
static void make_range_pipe(void) {
    int ends[2];
    need(STDIO, pipe(ends));
    (void)!fcntl(ends[1], F_SETPIPE_SZ, PIPE_BYTES);
    int file = fcntl(0, F_DUPFD, 16), from = fcntl(ends[0], F_DUPFD, 16), into = fcntl(ends[1], F_DUPFD, 16);
    need(STDIO, dup2(file, FED_FROM));
    need(STDIO, dup2(from, 0));
    need(STDIO, dup2(into, FED_INTO));
}

/* Sends a folder to the agent, by the socket that the task has as its stdin so far. */
static void offer(int agent, int folder) {
    char mark = 0, room[CMSG_SPACE(sizeof folder)] = {0};
    struct iovec text = {.iov_base = &mark, .iov_len = 1};
    struct msghdr offered = {.msg_iov = &text, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&offered);
    *rights = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof folder), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(rights), &folder, sizeof folder);
    need(STDIO, sendmsg(agent, &offered, MSG_NOSIGNAL));
}

/* In a devpts of the task's own. The agent opens the master there and then sends a byte: nobody in here has its file. */
static int open_terminal(int agent) {
    char go;
    need(STDIO, mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, TERMINALS));
    int folder = open("/dev/pts", O_PATH | O_DIRECTORY | O_CLOEXEC);
    need(STDIO, folder);
    offer(agent, folder);
    errno = EIO;
    need(STDIO, read(agent, &go, 1) == 1 ? 0 : -1);
    return open("/dev/pts/0", O_RDWR | O_NOCTTY);
}

static void take_streams(int standard_input) {
    int in_range = (message.header.flags & HAS_RANGE) != 0;
    int at_terminal = (message.header.flags & HAS_TERMINAL) != 0;
    need(STDIO, standard_input);
    if (at_terminal)
        need(STDIO, standard_input = open_terminal(standard_input));
    need(STDIO, dup2(standard_input, 0));
    need(STDIO, dup2(at_terminal ? standard_input : descriptors[0], 1));
    need(STDIO, dup2(at_terminal ? standard_input : descriptors[1], 2));
    if (in_range)
        make_range_pipe();
    need(STDIO, syscall(SYS_close_range, in_range ? FED_INTO + 1U : 3U, ~0U, 0));
}

static void limit(int resource, uint64_t value) {
    struct rlimit both = {value, value};
    need(LIMITS, setrlimit(resource, &both));
}

static void set_limits(void) {
    limit(RLIMIT_NPROC, message.header.processes);
    limit(RLIMIT_NOFILE, message.header.open_files);
    limit(RLIMIT_FSIZE, message.header.file_bytes);
    limit(RLIMIT_CORE, 1); /* not 0: with 0 a core_pattern that is a pipe still starts the host's handler */
    limit(RLIMIT_MEMLOCK, 65536);
    limit(RLIMIT_MSGQUEUE, 65536);
    limit(RLIMIT_DATA, message.header.data_bytes);
    limit(RLIMIT_AS, message.header.address_bytes);
}

/* No program of a task can ever have a capability: the fork server keeps its own, which it starts no program with. */
static int empty_bounding_set(void) {
    int capability = 0;
    while (capability < 64 && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0)
        capability++;
    return capability > 0 && (capability == 64 || errno == EINVAL) ? 0 : -1;
}

static void drop_privileges(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}};
    need(PRIVILEGES, prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
    need(PRIVILEGES, prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
    need(PRIVILEGES, prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
                                                  SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED, 0, 0, 0));
    need(PRIVILEGES, syscall(SYS_capset, &header, none));
    need(PRIVILEGES, prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

static char *command_and_environment(char *environment[]) {
    char *command = message.bytes + sizeof message.header + message.header.name_size;
    char *next = command + message.header.command_size + 1;
    char *end = next + message.header.environment_size;
    int count = 0;
    while (next < end && count < ENVIRONMENT_MAX) {
        environment[count++] = next;
        next += strlen(next) + 1;
    }
    environment[count] = NULL;
    command[message.header.command_size] = '\0';
    return command;
}

/* The environment follows the command without a gap: move it up by one byte, so that the command can be ended. */
static void make_room(void) {
    char *environment = message.bytes + sizeof message.header + message.header.name_size + message.header.command_size;
    memmove(environment + 1, environment, message.header.environment_size);
}

/* A process of the task, as powerless as the task's own, moves the range into the pipe without copying it. A task that
 * closes its stdin ends it by SIGPIPE, which is no failure. */
static void start_feeder(void) {
    pid_t pid = fork();
    need(RANGE, pid);
    if (pid > 0) {
        close(FED_FROM);
        close(FED_INTO);
        return;
    }
    syscall(SYS_close_range, 0U, 2U, 0);
    off64_t at = (off64_t)message.header.range_start, end = (off64_t)message.header.range_end;
    while (at < end) {
        size_t wanted = end - at < PIPE_BYTES ? (size_t)(end - at) : PIPE_BYTES;
        ssize_t moved = splice(FED_FROM, &at, FED_INTO, NULL, wanted, 0);
        if (moved == 0)
            errno = EIO; /* the object is shorter than its range */
        if (moved <= 0)
            fail(RANGE);
    }
    _exit(0);
}

/* The words of a command that blanks alone part. The command itself stays whole, for the shell. */
static void split(const char *command, char *words[]) {
    static char copy[PLAIN_MAX + 1];
    int count = 0;
    strncpy(copy, command, PLAIN_MAX);
    for (char *word = strtok(copy, " "); word != NULL; word = strtok(NULL, " "))
        words[count++] = word;
    words[count] = NULL;
}

/* Becomes the program that the first word names, found as a shell would; comes back when there is none. */
static void execute_plain(char *words[], char *environment[]) {
    if (strchr(words[0], '/') != NULL) {
        execve(words[0], words, environment);
        return;
    }
    const char *folder = NULL;
    for (char **variable = environment; *variable != NULL && folder == NULL; variable++)
        if (strncmp(*variable, "PATH=", 5) == 0)
            folder = *variable + 5;
    while (folder != NULL) {
        char path[PATH_MAX];
        int size = (int)strcspn(folder, ":");
        if (size > 0 && snprintf(path, sizeof path, "%.*s/%s", size, folder, words[0]) < (int)sizeof path)
            execve(path, words, environment);
        folder = folder[size] == ':' ? folder + size + 1 : NULL;
    }
}

/* A plain command is executed at once: a shell would only find the program, and costs as much as a small task. */
static pid_t spawn_shell(void) {
    static char *environment[ENVIRONMENT_MAX + 1];
    static char *words[PLAIN_MAX / 2 + 1];
    char *command = command_and_environment(environment);
    char *arguments[] = {(char *)shell, "-c", command, NULL};
    if (message.header.flags & IS_PLAIN)
        split(command, words);
    pid_t pid = vfork();
    if (pid == 0) {
        setsid();
        if (message.header.flags & HAS_TERMINAL)
            ioctl(0, TIOCSCTTY, 0);
        if (message.header.flags & IS_PLAIN)
            execute_plain(words, environment);
        execve(shell, arguments, environment);
        static const char excuse[] = "the command cannot be executed: it and its environment may be too long\n";
        (void)!write(2, excuse, sizeof excuse - 1);
        _exit(CANNOT_EXECUTE);
    }
    return pid;
}

/* Process 1 of the task. When it ends, the kernel has killed everything of the task. */
static void first_process(void) {
    need(GROUP, join(message.header.flags & IS_INIT ? init_group : task_group));
    need(PROC, mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL));
    prefer_for_oom();
    int standard_input = attach_input();
    need(SCRATCH, mount_scratch());
    need(SCRATCH, chdir("/scratch"));
    umask(022);
    if (message.header.flags & IS_INIT)
        need(ZONE, chdir("/zone"));
    else if (message.header.flags & SEES_ZONE)
        need(ZONE, set_attributes("/zone", READ_ONLY));
    take_streams(standard_input);
    set_limits();
    drop_privileges();
    need(FILTER, prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0));
    if (message.header.flags & HAS_RANGE)
        start_feeder();
    pid_t pid = spawn_shell();
    need(SHELL, pid);
    int status;
    for (pid_t ended = 0; ended != pid;) /* orphans of the task are reaped on the way */
        need(SHELL, ended = waitpid(-1, &status, 0));
    struct statfs scratch;
    if (status != 0 && statfs("/scratch", &scratch) == 0)
        shared->scratch_full = scratch.f_bfree == 0 || scratch.f_ffree == 0;
    shared->status = (uint32_t)status;
    _exit(0);
}

static void reply(int channel, struct reply *answer) {
    if (send(channel, answer, sizeof *answer, MSG_NOSIGNAL) < 0)
        exit(0);
}

static int open_process(pid_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }

/* Waits for the task's process 1, or kills it when told to; says whether it was told. */
static int await(int channel, pid_t pid) {
    int killed = 0, end = open_process(pid);
    if (end < 0)
        exit(1);
    struct pollfd watched[] = {{.fd = end, .events = POLLIN}, {.fd = channel, .events = POLLIN}};
    while (watched[0].revents == 0) {
        if (poll(watched, 2, -1) < 0 && errno != EINTR)
            exit(1);
        if (watched[0].revents == 0 && watched[1].revents != 0) {
            uint32_t order;
            if (recv(channel, &order, sizeof order, 0) <= 0)
                exit(0); /* the agent is gone: the zone ends with this process, and the task with the zone */
            kill(pid, SIGKILL);
            killed = 1;
        }
    }
    close(end);
    return killed;
}

static uint64_t nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static uint64_t of_timeval(struct timeval time) {
    return (uint64_t)time.tv_sec * 1000000000U + (uint64_t)time.tv_usec * 1000U;
}

static pid_t clone_task(void) {
    pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        first_process();
    return pid;
}

static void drop_inputs(void) {
    while (input_count > 0)
        if (inputs[--input_count].object >= 0)
            close(inputs[input_count].object);
}

/* A page of the next task's inputs; the first page replaces those of a task that never came. Ends the zone for nonsense. */
static void take_inputs(int channel) {
    struct inputs page;
    memcpy(&page, message.bytes, sizeof page);
    if (page.first == 0)
        drop_inputs();
    if (page.first != input_count || page.count > INPUTS_MAX - input_count)
        exit(1);
    const char *next = message.bytes + sizeof page;
    for (int taken = 0; input_count < page.first + page.count; input_count++) {
        int has_object = *next++ == '+';
        size_t size = strnlen(next, NAME_MAX_BYTES + 1);
        if (size > NAME_MAX_BYTES || (has_object && taken == descriptor_count))
            exit(1);
        memcpy(inputs[input_count].name, next, size + 1);
        inputs[input_count].object = has_object ? descriptors[taken++] : -1;
        next += size + 1;
    }
    struct reply answer = {.kind = TAKEN};
    reply(channel, &answer);
}

static void run(int channel) {
    struct reply answer = {.kind = BROKEN, .first = CLONE};
    uint64_t started = nanoseconds();
    memset((void *)shared, 0, sizeof *shared);
    make_room();
    pid_t pid = clone_task();
    answer.second = (uint32_t)errno;
    for (int i = 0; i < descriptor_count; i++)
        close(descriptors[i]);
    drop_inputs();
    if (pid < 0) {
        reply(channel, &answer);
        return;
    }
    int killed = await(channel, pid), status;
    struct rusage usage;
    if (wait4(pid, &status, 0, &usage) != pid)
        exit(1);
    if (shared->step != NONE) {
        answer.first = shared->step;
        answer.second = shared->error;
    } else {
        answer.kind = ENDED;
        answer.first = status == 0 ? shared->status : (uint32_t)status;
        answer.second = (uint32_t)killed;
        answer.third = shared->scratch_full;
        answer.wall_ns = nanoseconds() - started;
        answer.cpu_ns = of_timeval(usage.ru_utime) + of_timeval(usage.ru_stime);
        answer.peak_kib = (uint64_t)usage.ru_maxrss;
    }
    reply(channel, &answer);
}

/* Takes the next message and its descriptors; ends the zone when the agent is gone or talks nonsense. */
static void receive(int channel) {
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof descriptors)];
    } control;
    struct iovec part = {message.bytes, MESSAGE_MAX};
    struct msghdr envelope = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    ssize_t size = recvmsg(channel, &envelope, MSG_CMSG_CLOEXEC);
    if (size < (ssize_t)sizeof message.header.kind)
        exit(0);
    descriptor_count = 0;
    struct cmsghdr *entry = CMSG_FIRSTHDR(&envelope);
    if (entry != NULL && entry->cmsg_type == SCM_RIGHTS) {
        descriptor_count = (int)((entry->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(descriptors, CMSG_DATA(entry), (size_t)descriptor_count * sizeof(int));
    }
    const struct request *header = &message.header;
    if (header->kind == TASK && (size < (ssize_t)sizeof *header || descriptor_count < 2 ||
                                 sizeof *header + (uint64_t)header->name_size + header->command_size +
                                         header->environment_size != (uint64_t)size))
        exit(1);
    if (header->kind == INPUTS && size < (ssize_t)sizeof(struct inputs))
        exit(1);
    message.bytes[size] = '\0';
}

static struct sock_fprog load_filter(int file, struct sock_filter code[FILTER_MAX]) {
    ssize_t size = read(file, code, FILTER_MAX * sizeof code[0]);
    if (size <= 0)
        exit(1);
    close(file);
    return (struct sock_fprog){.len = (unsigned short)((size_t)size / sizeof code[0]), .filter = code};
}

static int write_file(const char *path, const char *text) {
    int file = open(path, O_WRONLY | O_CLOEXEC);
    int result = file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -1;
    close(file);
    return result;
}

/* What bubblewrap does for a zone and an OCI runtime does not: a second user namespace, under which the zone's mounts
 * cannot be changed any more, the zone's system call filter, and an end with whoever started it. */
static int enclose(int file) {
    static struct sock_filter code[FILTER_MAX];
    struct sock_fprog zone = load_filter(file, code);
    if (set_attributes("/", READ_ONLY | NO_SUID | NO_DEVICES) < 0)
        return -1;
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWCGROUP) < 0 || write_file("/proc/self/setgroups", "deny") < 0 ||
        write_file("/proc/self/uid_map", "0 0 1") < 0 || write_file("/proc/self/gid_map", "0 0 1") < 0)
        return -1;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &zone, 0, 0);
}

int main(int count, char *arguments[]) {
    int zone_filter = -1;
    if (count > 2 && strcmp(arguments[1], "--enclose") == 0) {
        zone_filter = atoi(arguments[2]);
        arguments += 2;
        count -= 2;
    }
    if (count < 5)
        return 2;
    int channel = atoi(arguments[1]);
    filter = load_filter(atoi(arguments[2]), filter_code);
    task_group = atoi(arguments[3]);
    init_group = atoi(arguments[4]);
    for (int place = 5; place < count; place++) {
        int group = atoi(arguments[place]);
        if (join(group) < 0) {
            perror("fork server: joining its control group");
            return 1;
        }
        close(group);
    }
    if (zone_filter >= 0 && enclose(zone_filter) < 0) {
        perror("fork server: enclosing its zone");
        return 1;
    }
    if (empty_bounding_set() < 0) {
        perror("fork server: dropping capabilities");
        return 1;
    }
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    prctl(PR_SET_NAME, "forkserver", 0, 0, 0);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    shell = access("/bin/bash", X_OK) == 0 ? "/bin/bash" : "/bin/sh";
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        perror("fork server");
        return 1;
    }
    struct reply hello = {.kind = HELLO, .first = VERSION};
    reply(channel, &hello);
    for (;;) {
        receive(channel);
        if (message.header.kind == TASK)
            run(channel);
        else if (message.header.kind == INPUTS)
            take_inputs(channel);
    }
}
