/* mget and mls: what a task reads of the store. */
#include "task.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

enum { SIZE_COLUMNS = 14 };

void mget(char **given, size_t count)
{
    static char block[FRAME_MAX];
    struct arguments arguments = parse(given, count, "o", "");
    if (arguments.operand_count == 0)
        misused("at least one KEY is needed");
    const char *path = option_of(&arguments, 'o');
    int to = 1;
    if (path != NULL && strcmp(path, "-") != 0) {
        to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (to < 0)
            failed("%s: %s", path, strerror(errno));
    }
    for (size_t i = 0; i < arguments.operand_count; i++) {
        struct bytes fields = {0};
        add_field(&fields, "get");
        add_field(&fields, arguments.operands[i]);
        struct agent agent = reach_agent();
        call(&agent, &fields);
        size_t size;
        while (next_block(&agent, block, &size))
            write_all(to, block, size);
    }
}

struct listing {
    const char *bucket;
    size_t bucket_size;
    bool sizes;
    char end;
};

/* One page, `next after NUL key NUL size NUL …`; how much of it names where the next page begins. */
static size_t print_page(const struct listing *listing, const struct bytes *page)
{
    const char *end = page->data + page->size;
    size_t after = strlen(page->data);
    for (const char *key = page->data + after + 1; key < end;) {
        const char *size = key + strlen(key) + 1;
        size_t digits = strlen(size);
        if (listing->sizes) {
            for (size_t blanks = digits; blanks < SIZE_COLUMNS; blanks++)
                print(" ", 1);
            print(size, digits);
            print(" ", 1);
        }
        print(listing->bucket, listing->bucket_size);
        print("/", 1);
        print(key, strlen(key));
        print(&listing->end, 1);
        key = size + digits + 1;
    }
    return after;
}

static void list(const char *name, struct listing *listing)
{
    static char block[FRAME_MAX];
    struct bytes after = {0};
    listing->bucket = strncmp(name, "s3://", 5) == 0 ? name + 5 : name + strspn(name, "/");
    listing->bucket_size = strcspn(listing->bucket, "/");
    do {
        struct bytes fields = {0}, page = {0};
        add_field(&fields, "list");
        add_field(&fields, name);
        append(&fields, "", 1);
        append(&fields, after.data, after.size);
        struct agent agent = reach_agent();
        call(&agent, &fields);
        size_t size;
        while (next_block(&agent, block, &size))
            append(&page, block, size);
        append(&page, "\0", 2); /* whatever came, each of its words ends */
        page.size -= 1;
        after.size = 0;
        append(&after, page.data, print_page(listing, &page));
    } while (after.size > 0);
}

void mls(char **given, size_t count)
{
    struct arguments arguments = parse(given, count, "", "l0");
    if (arguments.operand_count == 0)
        misused("at least one BUCKET is needed");
    struct listing listing = {
        .sizes = option_of(&arguments, 'l') != NULL,
        .end = option_of(&arguments, '0') != NULL ? '\0' : '\n',
    };
    for (size_t i = 0; i < arguments.operand_count; i++)
        list(arguments.operands[i], &listing);
}
