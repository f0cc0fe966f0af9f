/* Numbers of maggr: whole ones stay whole and exact, others are doubles, shown as Python shows them. */
#define _GNU_SOURCE
#include "task.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WHOLE_DIGITS = 36, TEXT_MAX = 400, DOUBLE_DIGITS = 17, QUOTIENT_BITS = 56 };

static bool is_blank(char byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

_Noreturn static void no_number(struct slice text)
{
    failed("not a number: %.*s", (int)(text.size < 40 ? text.size : 40), text.data);
}

static bool is_whole(struct slice text)
{
    size_t at = text.size > 0 && (text.data[0] == '+' || text.data[0] == '-');
    for (size_t i = at; i < text.size; i++)
        if (!isdigit((unsigned char)text.data[i]))
            return false;
    return text.size > at;
}

static struct amount whole_number(struct slice text)
{
    __int128 value = 0;
    size_t at = !isdigit((unsigned char)text.data[0]);
    while (at < text.size && text.data[at] == '0')
        at++;
    if (text.size - at > WHOLE_DIGITS)
        failed("a whole number has more than %d digits", WHOLE_DIGITS);
    for (; at < text.size; at++)
        value = value * 10 + (text.data[at] - '0');
    return (struct amount){.is_whole = true, .whole = text.data[0] == '-' ? -value : value};
}

/* A decimal number, `inf` or `nan`: nothing else that strtod would take. */
static bool is_real(const char *text)
{
    const char *bare = text + (*text == '+' || *text == '-');
    if (strcasecmp(bare, "inf") == 0 || strcasecmp(bare, "infinity") == 0 || strcasecmp(bare, "nan") == 0)
        return true;
    return *text != '\0' && strspn(text, "0123456789.eE+-") == strlen(text);
}

struct amount as_number(struct slice text)
{
    struct slice bare = text;
    while (bare.size > 0 && is_blank(bare.data[0]))
        bare.data++, bare.size--;
    while (bare.size > 0 && is_blank(bare.data[bare.size - 1]))
        bare.size--;
    if (is_whole(bare))
        return whole_number(bare);
    char copy[TEXT_MAX + 1];
    if (bare.size > TEXT_MAX || memchr(bare.data, '\0', bare.size) != NULL)
        no_number(text);
    memcpy(copy, bare.data, bare.size);
    copy[bare.size] = '\0';
    char *end;
    double value = strtod(copy, &end);
    if (!is_real(copy) || *end != '\0')
        no_number(text);
    return (struct amount){.real = value};
}

static double as_real(struct amount value)
{
    return value.is_whole ? (double)value.whole : value.real;
}

struct amount plus(struct amount a, struct amount b)
{
    struct amount sum = {.is_whole = a.is_whole && b.is_whole};
    if (!sum.is_whole)
        sum.real = as_real(a) + as_real(b);
    else if (__builtin_add_overflow(a.whole, b.whole, &sum.whole))
        failed("a sum has too many digits");
    return sum;
}

/* Exact: a double holds not every whole number. */
static int compared(__int128 whole, double real)
{
    if (real >= 0x1p126 || real <= -0x1p126)
        return real > 0 ? -1 : 1;
    __int128 floor_of = (__int128)floor(real);
    if (whole != floor_of)
        return whole < floor_of ? -1 : 1;
    return real > (double)floor_of ? -1 : 0;
}

bool less(struct amount a, struct amount b)
{
    if (a.is_whole && b.is_whole)
        return a.whole < b.whole;
    if (!a.is_whole && !b.is_whole)
        return a.real < b.real;
    if (isnan(a.is_whole ? b.real : a.real))
        return false;
    return a.is_whole ? compared(a.whole, b.real) < 0 : compared(b.whole, a.real) > 0;
}

static int bits(unsigned __int128 value)
{
    int count = 0;
    for (; value > 0; value >>= 1)
        count++;
    return count;
}

/* The quotient, rounded once. */
struct amount divided(struct amount sum, uint64_t count)
{
    if (!sum.is_whole)
        return (struct amount){.real = sum.real / (double)count};
    unsigned __int128 value = sum.whole < 0 ? -(unsigned __int128)sum.whole : (unsigned __int128)sum.whole;
    int shift = QUOTIENT_BITS + bits(count) - bits(value);
    if (shift < 0 || value == 0)
        shift = 0;
    value <<= shift;
    unsigned __int128 quotient = value / count;
    if (value % count != 0)
        quotient |= 1; /* lies below what a double keeps: it only says to which side the rest is rounded */
    double found = ldexp((double)quotient, -shift);
    return (struct amount){.real = sum.whole < 0 ? -found : found};
}

static size_t shown_whole(__int128 value, char *to)
{
    unsigned __int128 rest = value < 0 ? -(unsigned __int128)value : (unsigned __int128)value;
    char digits[SHOWN_MAX];
    size_t count = 0, size = 0;
    do
        digits[count++] = (char)('0' + (int)(rest % 10));
    while ((rest /= 10) > 0);
    if (value < 0)
        to[size++] = '-';
    while (count > 0)
        to[size++] = digits[--count];
    return size;
}

/* The fewest digits that give the same double again; with an exponent where Python writes one. */
size_t shown(struct amount value, char *to)
{
    if (value.is_whole)
        return shown_whole(value.whole, to);
    double real = value.real;
    if (isfinite(real) && real == floor(real) && fabs(real) < 1e15)
        return shown_whole((__int128)real, to);
    if (isnan(real))
        return (size_t)snprintf(to, SHOWN_MAX, "nan");
    if (isinf(real))
        return (size_t)snprintf(to, SHOWN_MAX, real > 0 ? "inf" : "-inf");
    int digits = 1;
    while (digits < DOUBLE_DIGITS) {
        snprintf(to, SHOWN_MAX, "%.*e", digits - 1, real);
        if (strtod(to, NULL) == real)
            break;
        digits++;
    }
    snprintf(to, SHOWN_MAX, "%.*e", digits - 1, real);
    int exponent = atoi(strchr(to, 'e') + 1);
    if (exponent < -4 || exponent >= 16)
        return strlen(to);
    int decimals = digits - 1 - exponent;
    return (size_t)snprintf(to, SHOWN_MAX, "%.*f", decimals > 1 ? decimals : 1, real);
}
