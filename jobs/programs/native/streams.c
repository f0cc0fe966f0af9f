/* Descriptors, lines of stdin, and what is printed. */
#include "task.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { READ_BYTES = 256 * 1024, PRINT_BYTES = 64 * 1024 };

size_t read_some(int descriptor, char *to, size_t size)
{
    for (;;) {
        ssize_t found = read(descriptor, to, size);
        if (found >= 0)
            return (size_t)found;
        if (errno != EINTR)
            failed_call();
    }
}

void write_all(int descriptor, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t written = write(descriptor, data, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            failed_call();
        data += written;
        size -= (size_t)written;
    }
}

static char printed[PRINT_BYTES];
static size_t printed_size;

/* Emptied before it is written: `failed_call` must not come back to it. */
void flush_printed(void)
{
    size_t size = printed_size;
    printed_size = 0;
    write_all(1, printed, size);
}

void print(const char *data, size_t size)
{
    if (size > sizeof printed - printed_size)
        flush_printed();
    if (size > sizeof printed) {
        write_all(1, data, size);
        return;
    }
    memcpy(printed + printed_size, data, size);
    printed_size += size;
}

/* A line of stdin without its end, good until the next call; false when there is none. The last may lack its end. */
bool next_line(const char **line, size_t *size)
{
    static char *buffer;
    static size_t room, start, end, looked;
    static bool ended;
    for (;;) {
        char *found = end > looked ? memchr(buffer + looked, '\n', end - looked) : NULL;
        if (found != NULL || (ended && end > start)) {
            *line = buffer + start;
            *size = (size_t)((found != NULL ? found : buffer + end) - *line);
            start = looked = found != NULL ? start + *size + 1 : end;
            return true;
        }
        if (ended)
            return false;
        if (start > 0) {
            memmove(buffer, buffer + start, end - start);
            end -= start;
            start = 0;
        }
        looked = end;
        if (room - end < READ_BYTES) {
            room = room > 0 ? 2 * room : 2 * READ_BYTES;
            buffer = grown(buffer, room, 1);
        }
        size_t more = read_some(0, buffer + end, room - end);
        end += more;
        ended = more == 0;
    }
}

/* The file's descriptor; stdin's for none, or `-`. */
int opened(const char *path)
{
    if (path == NULL || strcmp(path, "-") == 0)
        return 0;
    int found = open(path, O_RDONLY | O_CLOEXEC);
    if (found < 0)
        failed("%s: %s", path, strerror(errno));
    return found;
}
