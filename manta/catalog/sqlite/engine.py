"""The SQLite engine: one writer thread that commits many operations at once, and reads on the event loop.

`write` hands a function to the writer thread, which runs it in a savepoint of its own; its result is given back after
the COMMIT that holds it was synced. While one commit syncs, the next batch collects (455 commits/s one by one become
thousands); waiting longer for more gained nothing when measured. `read` runs on the caller's thread, on a second
connection that sees everything committed: a primary-key read costs about 10 µs, less than any hop to a thread.

The disk's faults are kept apart. Full: what met it is refused, and it heals. Unreadable: what met it fails. A failed
sync, of a commit or a checkpoint: nothing is acknowledged any more, and `on_failed_sync` is told, whose part it is to
end the process (D5). The next one writes the log's content anew before it commits anything on top of it, since to the
kernel a page that failed to sync is a clean one.

Nothing read in one transaction may be kept for another one: for the seconds of a gateway's replacement another process
writes to the same file.
"""

import asyncio
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar, cast

import apsw

from manta.catalog.ops import Op, Script
from manta.catalog.sqlite.faults import is_failed_sync, translate
from manta.catalog.sqlite.schema import CHECKPOINT_PAGES, connect, known, migrate, version, write_anew
from manta.catalog.statements import left_behind, load
from manta.core.errors import ServiceUnavailable, SlowDown
from manta.core.limits import CATALOG_BATCH_MAX, CATALOG_QUEUE_MAX

T = TypeVar("T")
_SQL = load("manta.catalog.sqlite")
Operation = Callable[[apsw.Cursor], T]


@dataclass(slots=True)
class _Waiting:
    """One operation, and what became of it."""

    run: Operation[Any]
    future: "asyncio.Future[Any]"
    value: Any = None
    error: BaseException | None = None


class SqliteEngine:
    """Owned by one event loop: `write` and `read` are called on it only."""

    def __init__(self, path: Path, now_ms: int, on_failed_sync: Callable[[], None] | None = None) -> None:
        """Creates the file (readable by its owner only) or brings its schema up to date.

        `on_failed_sync` is called once, on the event loop, after those who waited were answered.
        """
        created = not path.exists()
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self.path = path
        self._writer = connect(path)
        try:
            migrate(self._writer, str(path), now_ms)
            write_anew(self._writer)
        except BaseException:
            self._writer.close()
            raise
        if created:
            _sync_directory(path.parent)
        self._reader = connect(path, read_only=True)
        self._log_pages = 0
        self._writer.set_wal_hook(self._note_log)
        self._on_failed_sync = on_failed_sync
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._waiting = 0
        self._broken = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="catalog-writer", daemon=True)
        self._thread.start()

    async def write(self, operation: Operation[T]) -> T:
        """The operation's result, once it is durable. What it raises undoes it alone.

        A cancelled caller does not undo it. SlowDown when too many wait; ServiceUnavailable after a failed sync.
        """
        if self._closed or self._broken:
            raise ServiceUnavailable("The catalog takes no writes now: its disk failed or it is shutting down.")
        if self._waiting >= CATALOG_QUEUE_MAX:
            raise SlowDown
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting += 1
        self._queue.put(_Waiting(operation, future))
        return await future

    def read(self, operation: Operation[T]) -> T:
        """The operation's result on everything committed so far; it must be short and change nothing."""
        try:
            return operation(self._reader.cursor())
        except apsw.Error as error:
            raise _explain(error, self._reader) from error

    async def change(self, script: Callable[[], Script[T]]) -> T:
        return await self.write(lambda cursor: run(cursor, script()))

    async def look(self, script: Callable[[], Script[T]]) -> T:
        return self.read(lambda cursor: run(cursor, script()))

    async def close(self) -> None:
        """Operations already given are committed first."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        self._reader.close()
        self._writer.close()
        await asyncio.sleep(0)  # the last results are on their way to their futures

    def _run(self) -> None:
        running = True
        while running:
            batch, running = self._collect()
            if batch:
                self._commit(batch)
                self._loop.call_soon_threadsafe(self._resolve, batch)
            if self._log_pages >= CHECKPOINT_PAGES and not self._broken:
                self._checkpoint()

    def _note_log(self, _connection: apsw.Connection, _database: str, pages: int) -> int:
        """In place of SQLite's own hook, whose checkpoints hold up the answer and hide a failed sync."""
        self._log_pages = pages
        return apsw.SQLITE_OK

    def _checkpoint(self) -> None:
        """What is read meanwhile stays in the log for the next one, and so does all of it if the disk is full."""
        try:
            self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.Error as error:
            if is_failed_sync(error):
                self._break()

    def _collect(self) -> tuple[list[_Waiting], bool]:
        """Everything that waits now, at least one; and whether more may come."""
        batch: list[_Waiting] = []
        while len(batch) < CATALOG_BATCH_MAX:
            try:
                waiting = self._queue.get(block=not batch)
            except Empty:
                break
            if waiting is None:
                return batch, False
            batch.append(waiting)
        return batch, True

    def _commit(self, batch: list[_Waiting]) -> None:
        """Every operation succeeds or fails on its own, until the COMMIT: that one is for all."""
        cursor = self._writer.cursor()
        try:
            cursor.execute("BEGIN IMMEDIATE")
            for waiting in batch:
                self._apply(cursor, waiting)
            cursor.execute("COMMIT")
        except Exception as error:  # whatever it is, its callers must hear of it and the thread goes on
            self._fail(batch, error)

    def _apply(self, cursor: apsw.Cursor, waiting: _Waiting) -> None:
        cursor.execute("SAVEPOINT operation")
        try:
            waiting.value = waiting.run(cursor)
        except BaseException as error:
            if not self._writer.in_transaction:
                raise  # the disk is full or failed: SQLite has rolled back everything
            cursor.execute("ROLLBACK TO operation")
            waiting.error = _explain(error, self._writer)
        cursor.execute("RELEASE operation")

    def _fail(self, batch: list[_Waiting], error: Exception) -> None:
        if self._writer.in_transaction:
            self._writer.execute("ROLLBACK")
        if is_failed_sync(error):
            self._break()
        for waiting in batch:
            waiting.error = waiting.error or translate(error)

    def _break(self) -> None:
        """Nobody knows any more what the disk holds: acknowledge nothing (D5)."""
        self._broken = True
        self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        if self._on_failed_sync is not None:
            # After the answers to those who waited, which are on their way to this loop.
            self._loop.call_soon(self._on_failed_sync)
            self._on_failed_sync = None

    def _resolve(self, batch: list[_Waiting]) -> None:
        self._waiting -= len(batch)
        for waiting in batch:
            if waiting.future.done():
                continue
            if waiting.error is None:
                waiting.future.set_result(waiting.value)
            else:
                waiting.future.set_exception(waiting.error)


def _explain(error: BaseException, connection: apsw.Connection) -> BaseException:
    """As one of ours. What the schema refuses may come of an upgrade that has left this gateway behind."""
    refused = isinstance(error, (apsw.SQLError, apsw.ConstraintError))
    return (left_behind(known(), version(connection)) if refused else None) or translate(error)


def run(cursor: apsw.Cursor, script: Script[T]) -> T:
    """Execute what the script yields; its result."""
    try:
        op = next(script)
        while True:
            if isinstance(op, Op):
                op = script.send(cursor.execute(_SQL[op.name], op.args).fetchall())
            else:
                cursor.executemany(_SQL[op.name], op.rows)
                op = script.send([])
    except StopIteration as stop:
        return cast(T, stop.value)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
