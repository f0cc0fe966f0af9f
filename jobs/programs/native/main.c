/* mpipe, mcat, mtee, msplit, mget, mput, mls and maggr: what a task runs to reach the store through its agent.
 *
 * One static program that does what the name says by which it is called: it runs in images without a libc too.
 */
#define _GNU_SOURCE
#include "task.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct program {
    const char *name;
    void (*run)(char **given, size_t count);
    const char *usage;
} PROGRAMS[] = {
    {"mpipe", mpipe, "mpipe [-p] [-f FILE] [-r REDUCER] [-H 'name: value'] [KEY]"},
    {"mcat", mcat, "mcat KEY…"},
    {"mtee", mtee, "mtee [-p] [-H 'name: value'] KEY"},
    {"msplit", msplit, "msplit -n NUMBER [-f FIELD[,FIELD…]] [-d SEPARATOR]"},
    {"mget", mget, "mget [-o FILE] KEY…"},
    {"mput", mput, "mput [-p] [-f FILE] [-H 'name: value'] KEY"},
    {"mls", mls, "mls [-l] [-0] BUCKET[/PREFIX]…"},
    {"maggr", maggr,
     "maggr [-d SEPARATOR] [-k FIELD[,FIELD…]] -c FIELD OP [-c FIELD OP]…   (OP: sum count min max mean)"},
};
static const size_t PROGRAM_COUNT = sizeof PROGRAMS / sizeof *PROGRAMS;

enum { FAILURE = 1, MISUSE = 2, BROKEN_PIPE = 141 };
static const struct program *called;

static void complain(const char *text, size_t size)
{
    while (size > 0) {
        ssize_t written = write(2, text, size);
        if (written <= 0)
            return;
        text += written;
        size -= (size_t)written;
    }
}

/* `NAME: words` and, where `usage` says so, a line of usage. */
static void tell(bool usage, const char *format, va_list values)
{
    char *words = NULL, *line = NULL;
    int size = vasprintf(&words, format, values);
    if (size >= 0)
        size = usage ? asprintf(&line, "%s: %s\nusage: %s\n", called->name, words, called->usage)
                     : asprintf(&line, "%s: %s\n", called->name, words);
    if (size >= 0)
        complain(line, (size_t)size);
}

_Noreturn void failed(const char *format, ...)
{
    flush_printed();
    va_list values;
    va_start(values, format);
    tell(false, format, values);
    exit(FAILURE);
}

_Noreturn void misused(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    tell(true, format, values);
    exit(MISUSE);
}

/* The agent's own words, whatever bytes they are. */
_Noreturn void failed_raw(const char *code, size_t code_size, const char *text, size_t size)
{
    flush_printed();
    struct bytes line = {0};
    append(&line, called->name, strlen(called->name));
    append(&line, ": ", 2);
    append(&line, code, code_size);
    append(&line, ": ", 2);
    append(&line, text, size);
    append(&line, "\n", 1);
    complain(line.data, line.size);
    exit(FAILURE);
}

/* A system call failed: errno says how. Whoever reads our stdout may have gone, as in any pipe. */
_Noreturn void failed_call(void)
{
    if (errno == EPIPE)
        exit(BROKEN_PIPE);
    char line[256];
    int size = snprintf(line, sizeof line, "%s: %s\n", called->name, strerror(errno));
    complain(line, size > 0 ? (size_t)size : 0);
    exit(FAILURE);
}

static const struct program *find(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    for (size_t i = 0; i < PROGRAM_COUNT; i++)
        if (strcmp(PROGRAMS[i].name, name) == 0)
            return &PROGRAMS[i];
    return NULL;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    called = argc > 0 ? find(argv[0]) : NULL;
    if (called == NULL) {
        static const char text[] =
            "manta: this is mpipe, mcat, mtee, msplit, mget, mput, mls, maggr: call it by one of these names\n";
        complain(text, sizeof text - 1);
        return MISUSE;
    }
    called->run(argv + 1, (size_t)argc - 1);
    flush_printed();
    return 0;
}
