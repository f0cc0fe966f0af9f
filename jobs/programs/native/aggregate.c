/* maggr: sums, counts, smallest, largest and mean of columns, in groups by the key fields. */
#include "task.h"

#include <stdlib.h>
#include <string.h>

enum operation { SUM, COUNT, MIN, MAX, MEAN, OPERATIONS };
static const char *const OPERATION_NAMES[OPERATIONS] = {"sum", "count", "min", "max", "mean"};
enum { FIRST_SLOTS = 1024 };

struct wanted {
    uint32_t field;
    enum operation operation;
};

struct column {
    uint64_t count;
    struct amount value;
};

/* `key` is the sizes of the fields, then their bytes. */
struct group {
    uint64_t hash;
    uint32_t *sizes;
    char *key;
    size_t key_size;
    struct column *columns;
};

struct plan {
    struct wanted *wanted;
    size_t wanted_count;
    uint32_t *keys;
    size_t key_count;
    const char *separator;
};

struct groups {
    struct group **slots;
    size_t room, count;
};

static size_t key_fields; /* for the order of groups: qsort passes nothing along */

static void take(struct column *column, const struct wanted *wanted, const struct parts *parts)
{
    if (wanted->operation == COUNT) {
        column->count++;
        return;
    }
    if (wanted->field >= parts->count)
        failed("a line has no field %u", wanted->field + 1);
    struct amount value = as_number(parts->list[wanted->field]);
    if (wanted->operation == SUM || wanted->operation == MEAN)
        column->value = column->count > 0 ? plus(column->value, value) : plus((struct amount){.is_whole = true}, value);
    else if (column->count == 0 || (wanted->operation == MIN ? less(value, column->value) : less(column->value, value)))
        column->value = value;
    column->count++;
}

static size_t result_of(const struct column *column, enum operation operation, char *to)
{
    if (operation == COUNT)
        return shown((struct amount){.is_whole = true, .whole = column->count}, to);
    if (column->count == 0) {
        *to = operation == SUM ? '0' : '-';
        return 1;
    }
    return shown(operation == MEAN ? divided(column->value, column->count) : column->value, to);
}

static uint64_t mixed(uint64_t state, const void *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        state = (state ^ ((const unsigned char *)data)[i]) * 0x100000001b3;
    return state;
}

/* The line's key in `found`, which is used again and again. */
static void read_key(const struct plan *plan, const struct parts *parts, struct group *found, struct bytes *room)
{
    room->size = 0;
    found->hash = 0xcbf29ce484222325;
    for (size_t i = 0; i < plan->key_count; i++) {
        struct slice part = plan->keys[i] < parts->count ? parts->list[plan->keys[i]] : (struct slice){"", 0};
        found->sizes[i] = (uint32_t)part.size;
        found->hash = mixed(mixed(found->hash, &found->sizes[i], sizeof *found->sizes), part.data, part.size);
        append(room, part.data, part.size);
    }
    found->key = room->data;
    found->key_size = room->size;
}

static bool same(const struct group *a, const struct group *b)
{
    return a->hash == b->hash && a->key_size == b->key_size
           && (key_fields == 0 || memcmp(a->sizes, b->sizes, key_fields * sizeof *a->sizes) == 0)
           && (a->key_size == 0 || memcmp(a->key, b->key, a->key_size) == 0);
}

static struct group **slot_of(struct group **slots, size_t room, const struct group *wanted)
{
    size_t at = wanted->hash & (room - 1);
    while (slots[at] != NULL && !same(slots[at], wanted))
        at = (at + 1) & (room - 1);
    return &slots[at];
}

static void make_room(struct groups *groups)
{
    size_t room = groups->room > 0 ? 2 * groups->room : FIRST_SLOTS;
    struct group **slots = taken(room, sizeof(struct group *));
    for (size_t i = 0; i < groups->room; i++)
        if (groups->slots[i] != NULL)
            *slot_of(slots, room, groups->slots[i]) = groups->slots[i];
    free(groups->slots);
    groups->slots = slots;
    groups->room = room;
}

static struct group *group_of(struct groups *groups, const struct plan *plan, const struct group *wanted)
{
    if (groups->count * 2 >= groups->room)
        make_room(groups);
    struct group **slot = slot_of(groups->slots, groups->room, wanted);
    if (*slot == NULL) {
        struct group *made = taken(1, sizeof *made);
        *made = *wanted;
        made->sizes = taken(key_fields, sizeof *made->sizes);
        memcpy(made->sizes, wanted->sizes, key_fields * sizeof *made->sizes);
        made->key = taken(wanted->key_size, 1);
        if (wanted->key_size > 0)
            memcpy(made->key, wanted->key, wanted->key_size);
        made->columns = taken(plan->wanted_count, sizeof(struct column));
        *slot = made;
        groups->count++;
    }
    return *slot;
}

/* Field by field, byte by byte. */
static int in_order(const void *a, const void *b)
{
    const struct group *one = *(struct group *const *)a, *other = *(struct group *const *)b;
    const char *left = one->key, *right = other->key;
    for (size_t i = 0; i < key_fields; i++) {
        size_t size = one->sizes[i] < other->sizes[i] ? one->sizes[i] : other->sizes[i];
        int found = size > 0 ? memcmp(left, right, size) : 0;
        if (found != 0)
            return found;
        if (one->sizes[i] != other->sizes[i])
            return one->sizes[i] < other->sizes[i] ? -1 : 1;
        left += size;
        right += size;
    }
    return 0;
}

static void print_group(const struct plan *plan, const struct group *group)
{
    const char *between = plan->separator != NULL ? plan->separator : " ";
    const char *key = group->key;
    for (size_t i = 0; i < plan->key_count; i++) {
        print(key, group->sizes[i]);
        print(between, strlen(between));
        key += group->sizes[i];
    }
    for (size_t i = 0; i < plan->wanted_count; i++) {
        char text[SHOWN_MAX];
        if (i > 0)
            print(between, strlen(between));
        print(text, result_of(&group->columns[i], plan->wanted[i].operation, text));
    }
    print("\n", 1);
}

static void print_groups(const struct plan *plan, struct groups *groups)
{
    struct group **found = taken(groups->count, sizeof(struct group *));
    size_t count = 0;
    for (size_t i = 0; i < groups->room; i++)
        if (groups->slots[i] != NULL)
            found[count++] = groups->slots[i];
    qsort(found, count, sizeof(struct group *), in_order);
    for (size_t i = 0; i < count; i++)
        print_group(plan, found[i]);
}

static struct wanted read_wanted(const char *field, const char *name)
{
    struct wanted found = {0};
    long column = number(field, strlen(field), "FIELD");
    while (found.operation < OPERATIONS && strcmp(OPERATION_NAMES[found.operation], name) != 0)
        found.operation++;
    if (found.operation == OPERATIONS || column < 1)
        misused("-c %ld %s makes no sense", column, name);
    found.field = (uint32_t)(column - 1);
    return found;
}

/* What each `-c FIELD OP` asks for; the other words stay in `given`. */
static size_t read_columns(char **given, size_t count, struct plan *plan)
{
    size_t rest = 0;
    plan->wanted = taken(count, sizeof(struct wanted));
    for (size_t i = 0; i < count; i++) {
        if (strcmp(given[i], "-c") != 0) {
            given[rest++] = given[i];
            continue;
        }
        if (i + 2 >= count)
            misused("-c needs FIELD and OP");
        plan->wanted[plan->wanted_count++] = read_wanted(given[i + 1], given[i + 2]);
        i += 2;
    }
    if (plan->wanted_count == 0)
        misused("at least one -c FIELD OP is needed");
    return rest;
}

void maggr(char **given, size_t count)
{
    struct plan plan = {0};
    size_t rest = read_columns(given, count, &plan);
    struct arguments arguments = parse(given, rest, "dk", "");
    if (arguments.operand_count > 0)
        misused("it reads stdin alone");
    const char *keys = option_of(&arguments, 'k');
    if (keys != NULL && *keys != '\0')
        plan.key_count = field_numbers(keys, &plan.keys);
    plan.separator = option_of(&arguments, 'd');
    if (plan.separator != NULL && *plan.separator == '\0')
        plan.separator = NULL;
    key_fields = plan.key_count;
    struct groups groups = {0};
    struct group wanted = {.sizes = taken(key_fields, sizeof *wanted.sizes)};
    struct parts parts = {0};
    struct bytes room = {0};
    if (plan.key_count == 0) {
        read_key(&plan, &parts, &wanted, &room);
        group_of(&groups, &plan, &wanted);
    }
    const char *line;
    size_t size;
    while (next_line(&line, &size)) {
        split_line(&parts, line, size, plan.separator);
        if (parts.count == 0)
            continue;
        read_key(&plan, &parts, &wanted, &room);
        struct group *group = group_of(&groups, &plan, &wanted);
        for (size_t i = 0; i < plan.wanted_count; i++)
            take(&group->columns[i], &plan.wanted[i], &parts);
    }
    print_groups(&plan, &groups);
}
