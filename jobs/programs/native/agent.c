/* One call to the agent of this node, in the frames of ../protocol.py. */
#include "task.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

static const char SOCKET_PATH[] = "/run/manta.sock";
enum { HEAD_BYTES = 5 };

struct agent reach_agent(void)
{
    const char *path = getenv("MANTA_SOCKET");
    if (path == NULL || *path == '\0')
        path = SOCKET_PATH;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        failed("the node's agent cannot be reached: AF_UNIX path too long");
    strcpy(address.sun_path, path);
    int found = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (found < 0 || connect(found, (struct sockaddr *)&address, sizeof address) != 0)
        failed("the node's agent cannot be reached: %s", strerror(errno));
    return (struct agent){.socket = found};
}

/* An agent that has refused already reads no more: its answer says why. */
static void send_frame(struct agent *agent, int kind, const char *payload, size_t size)
{
    char head[HEAD_BYTES] = {(char)kind, (char)(size >> 24), (char)(size >> 16), (char)(size >> 8), (char)size};
    struct iovec pieces[2] = {{head, sizeof head}, {(void *)(uintptr_t)payload, size}};
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = 2};
    while (!agent->broken && pieces[0].iov_len + pieces[1].iov_len > 0) {
        ssize_t sent = sendmsg(agent->socket, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0) {
            agent->broken = true;
            return;
        }
        size_t left = (size_t)sent;
        for (int i = 0; i < 2; i++) {
            size_t gone = left < pieces[i].iov_len ? left : pieces[i].iov_len;
            pieces[i].iov_base = (char *)pieces[i].iov_base + gone;
            pieces[i].iov_len -= gone;
            left -= gone;
        }
    }
}

void call(struct agent *agent, const struct bytes *fields)
{
    send_frame(agent, CALL, fields->data, fields->size);
}

void send_data(struct agent *agent, const char *data, size_t size)
{
    while (size > 0) {
        size_t part = size < FRAME_MAX ? size : FRAME_MAX;
        send_frame(agent, DATA, data, part);
        data += part;
        size -= part;
    }
}

void end_call(struct agent *agent)
{
    send_frame(agent, END, NULL, 0);
}

static void receive(struct agent *agent, char *to, size_t size)
{
    while (size > 0) {
        ssize_t found = recv(agent->socket, to, size, 0);
        if (found < 0 && errno == EINTR)
            continue;
        if (found < 0)
            failed("the node's agent does not answer: %s", strerror(errno));
        if (found == 0)
            failed("the node's agent ended the call: too many programs at once, or the task is over");
        to += found;
        size -= (size_t)found;
    }
}

/* The payload of the next DATA, of FRAME_MAX bytes at most; false at DONE. The agent's refusal ends the program. */
bool next_block(struct agent *agent, char *to, size_t *size)
{
    unsigned char head[HEAD_BYTES];
    receive(agent, (char *)head, sizeof head);
    *size = (size_t)head[1] << 24 | (size_t)head[2] << 16 | (size_t)head[3] << 8 | head[4];
    if (*size > FRAME_MAX)
        failed("the node's agent answers nonsense");
    receive(agent, to, *size);
    if (head[0] == DATA)
        return true;
    if (head[0] != DONE) {
        const char *end = memchr(to, '\0', *size);
        size_t code_size = end != NULL ? (size_t)(end - to) : *size;
        size_t skipped = end != NULL ? code_size + 1 : code_size;
        failed_raw(to, code_size, to + skipped, *size - skipped);
    }
    close(agent->socket);
    return false;
}

void await_done(struct agent *agent)
{
    static char block[FRAME_MAX];
    size_t size;
    while (next_block(agent, block, &size))
        ;
}

/* Fields of a call are separated by NUL: an argument cannot hold one. */
void add_field(struct bytes *fields, const char *text)
{
    if (fields->size > 0)
        append(fields, "", 1);
    append(fields, text, strlen(text));
}

void add_reducer(struct bytes *fields, long reducer)
{
    char option[32];
    snprintf(option, sizeof option, "reducer=%ld", reducer);
    add_field(fields, option);
}
