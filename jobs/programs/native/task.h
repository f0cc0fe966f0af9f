/* What the rooms of the in-task programs share. ../tasks/ holds the same programs in Python, room by room. */
#ifndef MANTA_TASK_H
#define MANTA_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CALL = 1, DATA = 2, END = 3, DONE = 4, FAILED = 5 };
enum { FRAME_MAX = 64 * 1024, CALL_FIELDS = 2048, REDUCERS_MAX = 128, CHOSEN_MAX = 4096 };

/* main.c: every way out but success. `failed` and `misused` say why on stderr; what was printed before is written. */
_Noreturn void failed(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void failed_raw(const char *code, size_t code_size, const char *text, size_t size);
_Noreturn void misused(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void failed_call(void);

/* memory.c: bytes that grow, and memory that is there or ends the program. */
struct bytes {
    char *data;
    size_t size, room;
};
void *taken(size_t count, size_t size);
void *grown(void *old, size_t count, size_t size);
void append(struct bytes *to, const void *data, size_t size);

/* streams.c: descriptors, lines of stdin, and what is printed. */
size_t read_some(int descriptor, char *to, size_t size);
void write_all(int descriptor, const char *data, size_t size);
void print(const char *data, size_t size);
void flush_printed(void);
bool next_line(const char **line, size_t *size);
int opened(const char *path);

/* agent.c: one call to the agent of this node. */
struct agent {
    int socket;
    bool broken;
};
struct agent reach_agent(void);
void call(struct agent *agent, const struct bytes *fields);
void send_data(struct agent *agent, const char *data, size_t size);
void end_call(struct agent *agent);
bool next_block(struct agent *agent, char *to, size_t *size);
void await_done(struct agent *agent);
void add_field(struct bytes *fields, const char *text);
void add_reducer(struct bytes *fields, long reducer);

/* arguments.c: options in the manner of getopt; the rest are operands. */
struct option {
    char letter;
    const char *value;
};
struct arguments {
    struct option *options;
    size_t option_count;
    const char **operands;
    size_t operand_count;
};
struct arguments parse(char **given, size_t count, const char *wanting, const char *flags);
const char *option_of(const struct arguments *arguments, char letter);
const char *one_key(const struct arguments *arguments, bool needed);
long number(const char *text, size_t size, const char *what);
size_t field_numbers(const char *text, uint32_t **fields);

/* fields.c: the fields of a line. */
struct slice {
    const char *data;
    size_t size;
};
struct parts {
    struct slice *list;
    size_t count, room;
};
void split_line(struct parts *parts, const char *line, size_t size, const char *separator);

/* numbers.c: whole numbers stay whole. */
struct amount {
    bool is_whole;
    __int128 whole;
    double real;
};
struct amount as_number(struct slice text);
struct amount plus(struct amount a, struct amount b);
bool less(struct amount a, struct amount b);
struct amount divided(struct amount sum, uint64_t count);
size_t shown(struct amount value, char *to);
enum { SHOWN_MAX = 64 };

/* The programs; each ends by returning. */
void mpipe(char **given, size_t count);
void mput(char **given, size_t count);
void mtee(char **given, size_t count);
void mcat(char **given, size_t count);
void msplit(char **given, size_t count);
void mget(char **given, size_t count);
void mls(char **given, size_t count);
void maggr(char **given, size_t count);

#endif
