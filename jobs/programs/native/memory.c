/* Memory that is there or ends the program, and bytes that grow. */
#define _GNU_SOURCE
#include "task.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_BYTES = 256 };

void *taken(size_t count, size_t size)
{
    void *found = calloc(count > 0 ? count : 1, size);
    if (found == NULL)
        failed("there is not enough memory");
    return found;
}

void *grown(void *old, size_t count, size_t size)
{
    void *found = reallocarray(old, count, size);
    if (found == NULL)
        failed("there is not enough memory");
    return found;
}

void append(struct bytes *to, const void *data, size_t size)
{
    if (size > to->room - to->size) {
        size_t room = to->room > 0 ? to->room : FIRST_BYTES;
        while (room - to->size < size)
            room *= 2;
        to->data = grown(to->data, room, 1);
        to->room = room;
    }
    if (size > 0)
        memcpy(to->data + to->size, data, size);
    to->size += size;
}
