/* The fields of a line: between separators or, without one, between blanks. */
#define _GNU_SOURCE
#include "task.h"

#include <string.h>

static void add_part(struct parts *parts, const char *data, size_t size)
{
    if (parts->count == parts->room) {
        parts->room = parts->room > 0 ? 2 * parts->room : 16;
        parts->list = grown(parts->list, parts->room, sizeof *parts->list);
    }
    parts->list[parts->count++] = (struct slice){data, size};
}

static bool is_blank(char byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

static void split_at_blanks(struct parts *parts, const char *line, size_t size)
{
    for (size_t at = 0; at < size;) {
        while (at < size && is_blank(line[at]))
            at++;
        size_t start = at;
        while (at < size && !is_blank(line[at]))
            at++;
        if (at > start)
            add_part(parts, line + start, at - start);
    }
}

void split_line(struct parts *parts, const char *line, size_t size, const char *separator)
{
    parts->count = 0;
    if (separator == NULL) {
        split_at_blanks(parts, line, size);
        return;
    }
    size_t separator_size = strlen(separator);
    const char *end = line + size, *found;
    while ((found = memmem(line, (size_t)(end - line), separator, separator_size)) != NULL) {
        add_part(parts, line, (size_t)(found - line));
        line = found + separator_size;
    }
    add_part(parts, line, (size_t)(end - line));
}
