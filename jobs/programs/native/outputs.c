/* mpipe, mput, mtee and mcat: what a task puts out. */
#include "task.h"

#include <string.h>

static void add_option_field(struct bytes *fields, const char *name, const char *value)
{
    add_field(fields, name);
    append(fields, value, strlen(value));
}

static struct bytes output_fields(const struct arguments *arguments, const char *key)
{
    struct bytes fields = {0};
    add_field(&fields, "output");
    if (key != NULL)
        add_option_field(&fields, "name=", key);
    for (size_t i = 0; i < arguments->option_count; i++)
        if (arguments->options[i].letter == 'H')
            add_option_field(&fields, "header=", arguments->options[i].value);
    return fields;
}

static void send_output(const struct bytes *fields, int source, int copy_to)
{
    static char block[FRAME_MAX];
    struct agent agent = reach_agent();
    call(&agent, fields);
    size_t size;
    while ((size = read_some(source, block, sizeof block)) > 0) {
        send_data(&agent, block, size);
        if (copy_to >= 0)
            write_all(copy_to, block, size);
    }
    end_call(&agent);
    await_done(&agent);
}

void mpipe(char **given, size_t count)
{
    struct arguments arguments = parse(given, count, "frH", "p");
    struct bytes fields = output_fields(&arguments, one_key(&arguments, false));
    const char *reducer = option_of(&arguments, 'r');
    if (reducer != NULL) {
        add_reducer(&fields, number(reducer, strlen(reducer), "REDUCER"));
    }
    send_output(&fields, opened(option_of(&arguments, 'f')), -1);
}

void mput(char **given, size_t count)
{
    struct arguments arguments = parse(given, count, "fH", "p");
    struct bytes fields = output_fields(&arguments, one_key(&arguments, true));
    add_field(&fields, "side=1");
    send_output(&fields, opened(option_of(&arguments, 'f')), -1);
}

void mtee(char **given, size_t count)
{
    struct arguments arguments = parse(given, count, "H", "p");
    struct bytes fields = output_fields(&arguments, one_key(&arguments, true));
    add_field(&fields, "side=1");
    send_output(&fields, 0, 1);
}

/* As many names to a call as fit a frame. */
void mcat(char **given, size_t count)
{
    struct arguments arguments = parse(given, count, "", "");
    if (arguments.operand_count == 0)
        misused("at least one KEY is needed");
    struct agent agent = reach_agent();
    struct bytes batch = {0};
    size_t names = 0;
    add_field(&batch, "refer");
    for (size_t i = 0; i < arguments.operand_count; i++) {
        if (names == CALL_FIELDS || (names > 0 && batch.size + strlen(arguments.operands[i]) > FRAME_MAX - 1024)) {
            call(&agent, &batch);
            batch.size = names = 0;
            add_field(&batch, "refer");
        }
        add_field(&batch, arguments.operands[i]);
        names++;
    }
    call(&agent, &batch);
    end_call(&agent);
    await_done(&agent);
}
