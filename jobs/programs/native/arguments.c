/* Options in the manner of getopt; whatever is none is an operand, wherever it stands. */
#include "task.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBER_DIGITS = 9 };

static void add_option(struct arguments *found, char letter, const char *value)
{
    found->options[found->option_count++] = (struct option){letter, value};
}

/* Options in one word, like `-lo FILE`; how many further words they took. */
static size_t options_in(struct arguments *found, const char *letters, const char *next, const char *wanting,
                         const char *flags)
{
    for (; *letters != '\0'; letters++) {
        if (strchr(flags, *letters) != NULL) {
            add_option(found, *letters, "");
        } else if (strchr(wanting, *letters) == NULL) {
            misused("there is no option -%c", *letters);
        } else if (letters[1] != '\0') {
            add_option(found, *letters, letters + 1);
            return 0;
        } else if (next == NULL) {
            misused("-%c needs a value", *letters);
        } else {
            add_option(found, *letters, next);
            return 1;
        }
    }
    return 0;
}

struct arguments parse(char **given, size_t count, const char *wanting, const char *flags)
{
    size_t letters = 0;
    for (size_t i = 0; i < count; i++)
        letters += strlen(given[i]);
    struct arguments found = {.options = taken(letters, sizeof(struct option)), .operands = taken(count, sizeof(char *))};
    bool only_operands = false;
    for (size_t i = 0; i < count; i++) {
        const char *word = given[i];
        if (!only_operands && strcmp(word, "--") == 0)
            only_operands = true;
        else if (only_operands || word[0] != '-' || word[1] == '\0')
            found.operands[found.operand_count++] = word;
        else
            i += options_in(&found, word + 1, i + 1 < count ? given[i + 1] : NULL, wanting, flags);
    }
    return found;
}

/* The last value given; NULL for none. */
const char *option_of(const struct arguments *arguments, char letter)
{
    for (size_t i = arguments->option_count; i-- > 0;)
        if (arguments->options[i].letter == letter)
            return arguments->options[i].value;
    return NULL;
}

const char *one_key(const struct arguments *arguments, bool needed)
{
    if (arguments->operand_count > 1 || (needed && arguments->operand_count == 0))
        misused(needed ? "one KEY is needed" : "at most one KEY is taken");
    return arguments->operand_count > 0 ? arguments->operands[0] : NULL;
}

long number(const char *text, size_t size, const char *what)
{
    bool fits = text != NULL && size > 0 && size <= NUMBER_DIGITS;
    long value = 0;
    for (size_t i = 0; fits && i < size; i++) {
        fits = isdigit((unsigned char)text[i]);
        value = value * 10 + (text[i] - '0');
    }
    if (!fits)
        misused("%s is a whole number", what);
    return value;
}

/* Fields like `2,4-6`, counted from 0 in the end. */
size_t field_numbers(const char *text, uint32_t **fields)
{
    uint32_t *found = taken(CHOSEN_MAX, sizeof *found);
    size_t count = 0;
    bool from_one = true;
    for (const char *piece = text;; piece++) {
        size_t size = strcspn(piece, ",");
        const char *dash = memchr(piece, '-', size);
        size_t first = dash != NULL ? (size_t)(dash - piece) : size;
        long low = number(piece, first, "a field");
        long high = dash != NULL ? number(dash + 1, size - first - 1, "a field") : low;
        for (long field = low; field <= high; field++) {
            if (count == CHOSEN_MAX)
                misused("at most %d fields are taken", CHOSEN_MAX);
            from_one = from_one && field > 0;
            found[count++] = (uint32_t)(field - 1);
        }
        piece += size;
        if (*piece == '\0')
            break;
    }
    if (count == 0 || !from_one)
        misused("fields are counted from 1");
    *fields = found;
    return count;
}
