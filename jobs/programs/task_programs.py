"""mpipe, mcat, mtee, msplit, mget, mput, mls and maggr: what a task runs to reach the store through its agent.

A program of its own, for `python -I -S`: built-in modules only, since each start is waited for. It does what the name
says by which it is called. protocol.py has the frames.
"""

from __future__ import annotations

import _socket
import os
import sys

TYPE_CHECKING = False  # typing itself takes longer to import than all the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO, NoReturn

SOCKET_PATH = "/run/manta.sock"
CALL, DATA, END, DONE, FAILED = 1, 2, 3, 4, 5
FRAME_MAX = 64 * 1024
CALL_FIELDS = 2048
LINES_BYTES = 1 << 20

USAGE = {
    "mpipe": "mpipe [-p] [-f FILE] [-r REDUCER] [-H 'name: value'] [KEY]",
    "mcat": "mcat KEY…",
    "mtee": "mtee [-p] [-H 'name: value'] KEY",
    "msplit": "msplit -n NUMBER [-f FIELD[,FIELD…]] [-d SEPARATOR]",
    "mget": "mget [-o FILE] KEY…",
    "mput": "mput [-p] [-f FILE] [-H 'name: value'] KEY",
    "mls": "mls [-l] [-0] BUCKET[/PREFIX]…",
    "maggr": "maggr [-d SEPARATOR] [-k FIELD[,FIELD…]] -c FIELD OP [-c FIELD OP]…   (OP: sum count min max mean)",
}


class Failed(Exception):
    """What went wrong, in one sentence."""


class Misused(Exception):
    """The arguments make no sense."""


# -- the agent ---------------------------------------------------------------------------------------------------------


class Agent:
    """One call to the agent of this node."""

    def __init__(self) -> None:
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            self._socket.connect(os.environ.get("MANTA_SOCKET") or SOCKET_PATH)
        except OSError as error:
            raise Failed(f"the node's agent cannot be reached: {error.strerror}") from None
        self._broken: OSError | None = None

    def call(self, *fields: bytes) -> None:
        self._send(CALL, b"\0".join(fields))

    def data(self, block: bytes) -> None:
        view = memoryview(block)
        for start in range(0, len(view), FRAME_MAX):
            self._send(DATA, view[start : start + FRAME_MAX])

    def end(self) -> None:
        self._send(END, b"")

    def answer(self) -> bytes:
        """The payload of DONE."""
        for _ in self.blocks():
            pass
        return self._last

    def blocks(self) -> Iterator[bytes]:
        """The payloads of DATA, until DONE. The agent's refusal is raised."""
        while True:
            head = self._receive(5)
            payload = self._receive(int.from_bytes(head[1:], "big"))
            if head[0] == DATA:
                yield payload
            elif head[0] == DONE:
                self._last = payload
                return
            else:
                code, _, message = payload.decode("utf-8", "replace").partition("\0")
                raise Failed(f"{code}: {message}")

    def _send(self, kind: int, payload: bytes | memoryview) -> None:
        if self._broken is not None:
            return
        try:
            self._socket.sendall(bytes((kind,)) + len(payload).to_bytes(4, "big") + payload)
        except OSError as error:
            self._broken = error  # the agent has refused already: its answer says why

    def _receive(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            try:
                part = self._socket.recv(size - len(found))
            except OSError as error:
                raise Failed(f"the node's agent does not answer: {error.strerror}") from None
            if not part:
                raise Failed("the node's agent ended the call: too many programs at once, or the task is over")
            found += part
        return bytes(found)


def blocks_of(file: BinaryIO | None) -> Iterator[bytes]:
    descriptor = 0 if file is None else file.fileno()
    while block := os.read(descriptor, FRAME_MAX * 4):
        yield block


def write_all(descriptor: int, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(descriptor, view) :]


# -- arguments ---------------------------------------------------------------------------------------------------------


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
        found += range(low, (number(last, "a field") if dash else low) + 1)
    if not found or min(found) < 1:
        raise Misused("fields are counted from 1")
    return [one - 1 for one in found]


def opened(path: str | None) -> BinaryIO | None:
    if path is None or path == "-":
        return None
    try:
        return open(path, "rb", buffering=0)
    except OSError as error:
        raise Failed(f"{path}: {error.strerror}") from None


# -- outputs -----------------------------------------------------------------------------------------------------------


def output_options(arguments: Arguments, key: str | None) -> list[bytes]:
    options = [] if key is None else [b"name=" + os.fsencode(key)]
    return options + [b"header=" + os.fsencode(header) for header in arguments.all("H")]


def mpipe(given: list[str]) -> None:
    arguments = Arguments(given, "frH", "p")
    options = output_options(arguments, one_key(arguments, needed=False))
    reducer = arguments.one("r")
    if reducer is not None:
        options.append(b"reducer=%d" % number(reducer, "REDUCER"))
    send_output(options, opened(arguments.one("f")), None)


def mput(given: list[str]) -> None:
    arguments = Arguments(given, "fH", "p")
    options = output_options(arguments, one_key(arguments, needed=True))
    send_output([*options, b"side=1"], opened(arguments.one("f")), None)


def mtee(given: list[str]) -> None:
    arguments = Arguments(given, "H", "p")
    options = output_options(arguments, one_key(arguments, needed=True))
    send_output([*options, b"side=1"], None, 1)


def send_output(options: list[bytes], source: BinaryIO | None, copy_to: int | None) -> None:
    agent = Agent()
    agent.call(b"output", *options)
    for block in blocks_of(source):
        agent.data(block)
        if copy_to is not None:
            write_all(copy_to, block)
    agent.end()
    agent.answer()


def mcat(given: list[str]) -> None:
    names = Arguments(given, "", "").operands
    if not names:
        raise Misused("at least one KEY is needed")
    agent = Agent()
    batch: list[bytes] = []
    size = 0
    for name in map(os.fsencode, names):
        if len(batch) == CALL_FIELDS or size + len(name) > FRAME_MAX - 1024:
            agent.call(b"refer", *batch)
            batch, size = [], 0
        batch.append(name)
        size += len(name) + 1
    agent.call(b"refer", *batch)
    agent.end()
    agent.answer()


def msplit(given: list[str]) -> None:
    arguments = Arguments(given, "nfd", "")
    if arguments.operands:
        raise Misused("no KEY is taken: outputs go to reducers")
    count = number(arguments.one("n"), "NUMBER")
    if not 1 <= count <= 128:
        raise Misused("NUMBER lies between 1 and 128")
    chosen = arguments.one("f")
    fields = field_numbers(chosen) if chosen is not None else None
    separator = os.fsencode(arguments.one("d") or "\t")
    agents = [Agent() for _ in range(count)]
    for reducer, agent in enumerate(agents):
        agent.call(b"output", b"reducer=%d" % reducer)
    from zlib import crc32  # the same everywhere, so that a key meets its like

    for lines in line_blocks():
        shares: list[list[bytes]] = [[] for _ in agents]
        for line in lines:
            key = line
            if fields is not None:
                parts = line.split(separator)
                key = separator.join([parts[field] for field in fields if field < len(parts)])
            shares[crc32(key) % count].append(line)
        for agent, share in zip(agents, shares, strict=True):
            if share:
                agent.data(b"\n".join(share) + b"\n")
    for agent in agents:
        agent.end()
    for agent in agents:
        agent.answer()


def line_blocks() -> Iterator[list[bytes]]:
    """Lines of stdin without their ends, many at a time."""
    rest = b""
    while block := os.read(0, LINES_BYTES):
        *lines, rest = (rest + block).split(b"\n")
        yield lines
    if rest:
        yield [rest]


# -- reading the store -------------------------------------------------------------------------------------------------


def mget(given: list[str]) -> None:
    arguments = Arguments(given, "o", "")
    if not arguments.operands:
        raise Misused("at least one KEY is needed")
    path = arguments.one("o")
    descriptor = 1
    if path is not None and path != "-":
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        except OSError as error:
            raise Failed(f"{path}: {error.strerror}") from None
    for name in arguments.operands:
        agent = Agent()
        agent.call(b"get", os.fsencode(name))
        for block in agent.blocks():
            write_all(descriptor, block)


def mls(given: list[str]) -> None:
    arguments = Arguments(given, "", "l0")
    if not arguments.operands:
        raise Misused("at least one BUCKET is needed")
    end = b"\0" if arguments.all("0") else b"\n"
    for name in map(os.fsencode, arguments.operands):
        place = name[5:] if name.startswith(b"s3://") else name.lstrip(b"/")
        bucket = place.partition(b"/")[0]
        after = b""
        while True:
            agent = Agent()
            agent.call(b"list", name, after)
            pieces = b"".join(agent.blocks()).split(b"\0")
            after = pieces[0]
            for key, size in zip(pieces[1::2], pieces[2::2], strict=True):
                line = bucket + b"/" + key + end
                write_all(1, size.rjust(14) + b" " + line if arguments.all("l") else line)
            if not after:
                break


# -- aggregates --------------------------------------------------------------------------------------------------------


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
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            raise Failed(f"not a number: {text[:40].decode('utf-8', 'replace')}") from None


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


PROGRAMS: dict[str, Callable[[list[str]], None]] = {
    "mpipe": mpipe, "mcat": mcat, "mtee": mtee, "msplit": msplit,
    "mget": mget, "mput": mput, "mls": mls, "maggr": maggr,
}  # fmt: skip


def main(name: str, given: list[str]) -> NoReturn:
    program = PROGRAMS.get(name)
    if program is None:
        complain(f"manta: this is {', '.join(PROGRAMS)}: call it by one of these names")
        sys.exit(2)
    try:
        program(given)
    except Misused as error:
        complain(f"{name}: {error}\nusage: {USAGE[name]}")
        sys.exit(2)
    except Failed as error:
        complain(f"{name}: {error}")
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(141)
    except OSError as error:
        complain(f"{name}: {error.strerror}")
        sys.exit(1)
    sys.exit(0)


def complain(text: str) -> None:
    os.write(2, os.fsencode(text) + b"\n")


if __name__ == "__main__":
    main(sys.argv[0].rpartition("/")[2], sys.argv[1:])
