/* msplit: lines dealt to reducers by a hash, so that a key meets its like. */
#include "task.h"

#include <string.h>

/* CRC-32 as in zlib: the same everywhere. */
static uint32_t table[256];

static void make_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; bit++)
            value = value >> 1 ^ (value & 1 ? 0xEDB88320 : 0);
        table[i] = value;
    }
}

static uint32_t hashed(uint32_t state, const char *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        state = state >> 8 ^ table[(state ^ (unsigned char)data[i]) & 0xFF];
    return state;
}

struct key {
    const uint32_t *fields;
    size_t count;
    const char *separator;
};

/* Of the whole line, or of the chosen fields that it has, put together again. */
static uint32_t hash_of(const char *line, size_t size, const struct key *key)
{
    static struct parts parts;
    uint32_t state = UINT32_MAX;
    if (key->fields == NULL)
        return ~hashed(state, line, size);
    split_line(&parts, line, size, key->separator);
    bool first = true;
    for (size_t i = 0; i < key->count; i++) {
        if (key->fields[i] >= parts.count)
            continue;
        if (!first)
            state = hashed(state, key->separator, strlen(key->separator));
        first = false;
        state = hashed(state, parts.list[key->fields[i]].data, parts.list[key->fields[i]].size);
    }
    return ~state;
}

struct share {
    struct agent agent;
    char *waiting;
    size_t size;
};

static void deal(struct share *share, const char *data, size_t size)
{
    while (size > 0) {
        size_t part = FRAME_MAX - share->size < size ? FRAME_MAX - share->size : size;
        memcpy(share->waiting + share->size, data, part);
        share->size += part;
        data += part;
        size -= part;
        if (share->size == FRAME_MAX) {
            send_data(&share->agent, share->waiting, share->size);
            share->size = 0;
        }
    }
}

static void open_share(struct share *share, long reducer)
{
    struct bytes fields = {0};
    add_field(&fields, "output");
    add_reducer(&fields, reducer);
    share->waiting = taken(FRAME_MAX, 1);
    call(&share->agent, &fields);
}

void msplit(char **given, size_t count)
{
    static struct share shares[REDUCERS_MAX];
    struct arguments arguments = parse(given, count, "nfd", "");
    if (arguments.operand_count > 0)
        misused("no KEY is taken: outputs go to reducers");
    const char *wanted = option_of(&arguments, 'n');
    long many = number(wanted, wanted != NULL ? strlen(wanted) : 0, "NUMBER");
    if (many < 1 || many > REDUCERS_MAX)
        misused("NUMBER lies between 1 and %d", REDUCERS_MAX);
    struct key key = {.separator = option_of(&arguments, 'd')};
    if (key.separator == NULL || *key.separator == '\0')
        key.separator = "\t";
    const char *chosen = option_of(&arguments, 'f');
    if (chosen != NULL) {
        uint32_t *fields;
        key.count = field_numbers(chosen, &fields);
        key.fields = fields;
    }
    make_table();
    for (long i = 0; i < many; i++)
        shares[i].agent = reach_agent();
    for (long i = 0; i < many; i++)
        open_share(&shares[i], i);
    const char *line;
    size_t size;
    while (next_line(&line, &size)) {
        struct share *share = &shares[hash_of(line, size, &key) % (uint32_t)many];
        deal(share, line, size);
        deal(share, "\n", 1);
    }
    for (long i = 0; i < many; i++) {
        send_data(&shares[i].agent, shares[i].waiting, shares[i].size);
        end_call(&shares[i].agent);
    }
    for (long i = 0; i < many; i++)
        await_done(&shares[i].agent);
}
