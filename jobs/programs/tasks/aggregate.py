"""maggr: sums, counts, smallest, largest and mean of columns, in groups by the key fields."""

from __future__ import annotations

import os

from jobs.programs.tasks.arguments import Arguments, field_numbers, number
from jobs.programs.tasks.failures import Failed, Misused
from jobs.programs.tasks.streams import line_blocks, write_all

WHOLE_DIGITS = 36
SUM_END = 1 << 127


class Column:
    """One aggregate of one column. Whole numbers stay whole."""

    def __init__(self, field: int, operation: str) -> None:
        self.field = field
        self.operation = operation
        self.count = 0
        self.value: int | float = 0

    def take(self, parts: list[bytes]) -> None:
        if self.operation == "count":
            self.count += 1
            return
        if self.field >= len(parts):
            raise Failed(f"a line has no field {self.field + 1}")
        value = as_number(parts[self.field])
        if self.operation in ("sum", "mean"):
            self.value += value
            if isinstance(self.value, int) and not -SUM_END <= self.value < SUM_END:
                raise Failed("a sum has too many digits")
        elif not self.count or (value < self.value if self.operation == "min" else value > self.value):
            self.value = value
        self.count += 1

    def result(self) -> str:
        if self.operation == "count":
            return str(self.count)
        if not self.count:
            return "0" if self.operation == "sum" else "-"
        return shown(self.value / self.count if self.operation == "mean" else self.value)


def as_number(text: bytes) -> int | float:
    """Whole numbers as such. Python's underscores are none of ours."""
    bare = text.strip()
    digits = bare[1:] if bare[:1] in (b"+", b"-") else bare
    if digits.isdigit():
        if len(digits.lstrip(b"0")) > WHOLE_DIGITS:
            raise Failed(f"a whole number has more than {WHOLE_DIGITS} digits")
        return int(bare)
    try:
        if b"_" not in bare:
            return float(bare)
    except ValueError:
        pass
    raise Failed(f"not a number: {text[:40].decode('utf-8', 'replace')}")


def shown(value: int | float) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return repr(value)


def columns_of(given: list[str]) -> tuple[list[str], list[tuple[int, str]]]:
    """Other arguments, and what each `-c FIELD OP` asks for."""
    rest: list[str] = []
    wanted: list[tuple[int, str]] = []
    words = list(given)
    while words:
        word = words.pop(0)
        if word != "-c":
            rest.append(word)
            continue
        if len(words) < 2:
            raise Misused("-c needs FIELD and OP")
        field, operation = number(words.pop(0), "FIELD"), words.pop(0)
        if operation not in ("sum", "count", "min", "max", "mean") or field < 1:
            raise Misused(f"-c {field} {operation} makes no sense")
        wanted.append((field - 1, operation))
    if not wanted:
        raise Misused("at least one -c FIELD OP is needed")
    return rest, wanted


def maggr(given: list[str]) -> None:
    rest, wanted = columns_of(given)
    arguments = Arguments(rest, "dk", "")
    if arguments.operands:
        raise Misused("it reads stdin alone")
    keys = field_numbers(arguments.one("k") or "") if arguments.one("k") else []
    given_separator = arguments.one("d")
    separator = os.fsencode(given_separator) if given_separator else None
    groups: dict[tuple[bytes, ...], list[Column]] = {}
    if not keys:
        groups[()] = [Column(*one) for one in wanted]
    for lines in line_blocks():
        for line in lines:
            parts = line.split(separator)
            if not parts:
                continue
            group = tuple([parts[key] if key < len(parts) else b"" for key in keys])
            columns = groups.get(group)
            if columns is None:
                columns = groups[group] = [Column(*one) for one in wanted]
            for column in columns:
                column.take(parts)
    between = separator if separator is not None else b" "
    for group in sorted(groups):
        results = [column.result().encode() for column in groups[group]]
        write_all(1, between.join([*group, *results]) + b"\n")
