"""Transactions written once for SQLite and PostgreSQL.

A script is a generator that yields named statements and is sent their rows: it decides, an engine executes. SQLite runs
a script in its writer thread; PostgreSQL awaits each statement. Statement names are those of each engine's `sql/*.sql`.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

Row = Sequence[Any]


@dataclass(slots=True)
class Op:
    """One statement; its rows are sent back."""

    name: str
    args: tuple[Any, ...] = ()


@dataclass(slots=True)
class Many:
    """The same statement for each of `rows`; nothing is sent back."""

    name: str
    rows: Sequence[tuple[Any, ...]]


T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Script = Generator[Op | Many, list[Any], T_co]


class Engine(Protocol):
    """What runs scripts. A factory, because a transaction that lost against another one is run again."""

    async def change(self, script: Callable[[], Script[T]]) -> T:
        """One transaction, durable when this returns; what the script raises undoes it."""
        ...

    async def look(self, script: Callable[[], Script[T]]) -> T:
        """Reads of everything committed; short ones, since SQLite does them on the event loop."""
        ...

    async def close(self) -> None: ...
