"""Options in the manner of getopt; whatever is none is an operand, wherever it stands."""

from __future__ import annotations

from jobs.programs.tasks.failures import Misused

CHOSEN_MAX = 4096


class Arguments:
    """Options in the manner of getopt: `wanting` take a value, `flags` do not; the rest are operands."""

    def __init__(self, given: list[str], wanting: str, flags: str) -> None:
        self.values: list[tuple[str, str]] = []
        self.operands: list[str] = []
        rest = list(given)
        while rest:
            word = rest.pop(0)
            if word == "--":
                self.operands += rest
                return
            if len(word) < 2 or word[0] != "-":
                self.operands.append(word)
                continue
            letters = word[1:]
            while letters:
                letter, letters = letters[0], letters[1:]
                if letter in flags:
                    self.values.append((letter, ""))
                elif letter in wanting:
                    if not letters and not rest:
                        raise Misused(f"-{letter} needs a value")
                    self.values.append((letter, letters or rest.pop(0)))
                    break
                else:
                    raise Misused(f"there is no option -{letter}")

    def all(self, letter: str) -> list[str]:
        return [value for name, value in self.values if name == letter]

    def one(self, letter: str) -> str | None:
        found = self.all(letter)
        return found[-1] if found else None


def one_key(arguments: Arguments, *, needed: bool) -> str | None:
    if len(arguments.operands) > 1 or (needed and not arguments.operands):
        raise Misused("one KEY is needed" if needed else "at most one KEY is taken")
    return arguments.operands[0] if arguments.operands else None


def number(text: str | None, what: str) -> int:
    if text is None or not text.isdigit() or not text.isascii() or len(text) > 9:
        raise Misused(f"{what} is a whole number")
    return int(text)


def field_numbers(text: str) -> list[int]:
    found: list[int] = []
    for piece in text.split(","):
        first, dash, last = piece.partition("-")
        low = number(first, "a field")
        chosen = range(low, (number(last, "a field") if dash else low) + 1)
        if len(found) + len(chosen) > CHOSEN_MAX:
            raise Misused(f"at most {CHOSEN_MAX} fields are taken")
        found += chosen
    if not found or min(found) < 1:
        raise Misused("fields are counted from 1")
    return [one - 1 for one in found]
