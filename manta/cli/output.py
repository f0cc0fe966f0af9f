"""What commands print: data to stdout, everything else to stderr, animation only on a terminal."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

import msgspec
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from manta.cli.plain import plain, plain_json

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
LONG_TRANSFER_BYTES = 8 * 1024 * 1024


def console() -> Console:
    """For people: on stderr."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def animated() -> bool:
    """Whether a moving bar helps anybody: both outputs are a terminal."""
    return sys.stderr.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def line(text: str) -> None:
    """One line of data: exact for a program, without what would move the cursor for a person.

    A reader that goes away ends the command quietly, as in every Unix tool.
    """
    sys.stdout.write((plain(text) if sys.stdout.isatty() else text) + "\n")


def lines(text: str) -> None:
    """Several lines of data."""
    for one in text.split("\n"):
        line(one)


def json_line(values: Mapping[str, object] | msgspec.Struct) -> None:
    """Never other than JSON: what would move the cursor of a person becomes one of its own escapes."""
    text = msgspec.json.encode(values).decode()
    if sys.stdout.isatty():
        text = plain_json(text)
    sys.stdout.write(text + "\n")


def size_text(size: int | float) -> str:
    """Bytes in the largest unit that keeps the number above one."""
    value = float(size)
    for unit in _UNITS:
        if value < 1024 or unit == _UNITS[-1]:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")


def time_text(moment: datetime) -> str:
    """Local time to the second."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def show_cursor() -> None:
    """What a moving bar hides, for a process that ends without another word."""
    if animated():
        os.write(sys.stderr.fileno(), b"\x1b[?25h\n")


@contextmanager
def transfer(name: str, total_bytes: int | None) -> Iterator["Transfer"]:
    """A progress bar for a long transfer, or silence."""
    if not animated() or (total_bytes is not None and total_bytes < LONG_TRANSFER_BYTES):
        yield Transfer(None)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(True), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console(), transient=True) as bar:
        bar.add_task(name, total=total_bytes)
        yield Transfer(bar)


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar over so many things, or silence; called once for each that is done."""
    if not animated():
        yield lambda: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(), transient=True) as bar:
        row = bar.add_task(what, total=total)
        yield lambda: bar.advance(row)


class Transfer:
    """Called with each further number of bytes."""

    def __init__(self, bar: Progress | None) -> None:
        self._bar = bar

    def __call__(self, moved_bytes: int) -> None:
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0], moved_bytes)
