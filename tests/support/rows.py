"""Rows of the plainest table there is, for tests of the SQLite engine alone."""

from collections.abc import Callable

import apsw

from manta.catalog.sqlite.engine import SqliteEngine


def add(name: str) -> Callable[[apsw.Cursor], str]:
    def operation(cursor: apsw.Cursor) -> str:
        cursor.execute("INSERT INTO node_numbers (node_id) VALUES (?)", (name,))
        return name

    return operation


def names(engine: SqliteEngine) -> list[str]:
    rows = engine.read(lambda cursor: cursor.execute("SELECT node_id FROM node_numbers").fetchall())
    return [str(name) for (name,) in rows]
