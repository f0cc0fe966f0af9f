"""Online backup and restore of a SQLite catalog: one compressed, checksummed file that states its schema.

A file is: magic, length of the head (4 bytes), the head as JSON, an LZ4 frame of the whole database. The snapshot is
taken in one read transaction, which in WAL mode holds up no writer.
"""

import os
import tempfile
from pathlib import Path
from typing import BinaryIO

import apsw
import lz4.frame
import msgspec

from manta.catalog.records import Gap
from manta.catalog.rules import gap_begin_ms
from manta.catalog.sqlite.faults import translate
from manta.catalog.sqlite.schema import BUSY_TIMEOUT_MS, connect, known, migrate, version
from manta.catalog.statements import load
from manta.core.checksums import crc32c
from manta.core.errors import AlreadyExists, InvalidArgument
from manta.core.limits import MIB
from storage_nodes.disk.durable import link, rename, sync_file, sync_folder

_MAGIC = b"MANTACAT"
_HEAD_MAX_BYTES = 64 * 1024


class BackupHead(msgspec.Struct, frozen=True):
    """`size` and `crc32c` are of the database as it was before compression."""

    schema: int
    created_ms: int
    size: int
    crc32c: int
    format: int = 1


def backup(catalog: Path, target: Path, now_ms: int) -> BackupHead:
    """Write the catalog as it is now to `target`, whole or not at all; an earlier file of that name is replaced."""
    if not catalog.exists():
        raise InvalidArgument(f"There is no catalog at {catalog}.")
    with tempfile.TemporaryDirectory(prefix=".manta-backup-", dir=target.parent) as folder:
        snapshot, packed = Path(folder, "snapshot.db"), Path(folder, "packed")
        schema = _snapshot(catalog, snapshot)
        with snapshot.open("rb") as file:
            head = BackupHead(schema, now_ms, snapshot.stat().st_size, _checksum(file))
        _pack(snapshot, packed, head)
        rename(str(packed), str(target))
    sync_folder(str(target.parent))
    return head


def restore(source: Path, catalog: Path, now_ms: int) -> BackupHead:
    """Make `catalog` from a backup. AlreadyExists when there is one; InvalidArgument when the backup is no good.

    What was committed between the backup and now is a gap in it: files from then are not to be taken for orphans.
    """
    if any(Path(f"{catalog}{suffix}").exists() for suffix in ("", "-wal")):
        raise AlreadyExists(f"There is a catalog at {catalog} already: stop the store and move it away first.")
    with tempfile.TemporaryDirectory(prefix=".manta-restore-", dir=catalog.parent) as folder:
        unpacked = Path(folder, "catalog.db")
        head = _unpack(source, unpacked)
        _check(unpacked, source)
        _note_gap(unpacked, Gap(gap_begin_ms(head.created_ms), now_ms), now_ms)
        if not link(str(unpacked), str(catalog)):
            raise AlreadyExists(f"A catalog appeared at {catalog} meanwhile: is the store running?")
    sync_folder(str(catalog.parent))
    return head


def read_head(source: Path) -> BackupHead:
    """What a backup says of itself."""
    with source.open("rb") as file:
        return _read_head(file, source)


def _snapshot(catalog: Path, snapshot: Path) -> int:
    """Copy the database; its schema."""
    try:
        origin = apsw.Connection(str(catalog), flags=apsw.SQLITE_OPEN_READWRITE)
        copy = apsw.Connection(str(snapshot))
        try:
            origin.set_busy_timeout(BUSY_TIMEOUT_MS)
            with copy.backup("main", origin, "main") as running:
                running.step(-1)
            return version(copy)
        finally:
            copy.close()
            origin.close()
    except apsw.Error as error:
        raise translate(error) from error


def _pack(snapshot: Path, packed: Path, head: BackupHead) -> None:
    text = msgspec.json.encode(head)
    descriptor = os.open(packed, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # it holds secret keys
    with os.fdopen(descriptor, "wb") as file, snapshot.open("rb") as plain:
        file.write(_MAGIC + len(text).to_bytes(4, "big") + text)
        with lz4.frame.open(file, "wb") as frame:
            while piece := plain.read(MIB):
                frame.write(piece)
        file.flush()
        sync_file(file.fileno())


def _unpack(source: Path, target: Path) -> BackupHead:
    descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w+b") as plain, source.open("rb") as file:
        head = _read_head(file, source)
        try:
            with lz4.frame.open(file, "rb") as frame:
                while plain.tell() <= head.size and (piece := frame.read(MIB)):
                    plain.write(piece)
        except (RuntimeError, EOFError, OSError) as error:
            raise InvalidArgument(f"The backup {source} is damaged: {error}.") from None
        plain.flush()
        size = plain.tell()
        plain.seek(0)
        if size != head.size or _checksum(plain) != head.crc32c:
            raise InvalidArgument(f"The backup {source} is damaged: its checksum does not match.")
        sync_file(plain.fileno())
    return head


def _read_head(file: BinaryIO, source: Path) -> BackupHead:
    magic, length = file.read(len(_MAGIC)), int.from_bytes(file.read(4), "big")
    if magic != _MAGIC or length > _HEAD_MAX_BYTES:
        raise InvalidArgument(f"{source} is no backup of a catalog.")
    try:
        head = msgspec.json.decode(file.read(length), type=BackupHead)
    except msgspec.MsgspecError as error:
        raise InvalidArgument(f"The backup {source} is damaged: {error}.") from None
    newest = max(migration.number for migration in known())
    if head.schema > newest:
        raise InvalidArgument(
            f"The backup {source} has schema {head.schema}, and this version of manta knows schemas up to {newest}: "
            "restore it with the version that made it."
        )
    return head


def _note_gap(database: Path, gap: Gap, now_ms: int) -> None:
    connection = connect(database)  # its close ends the WAL: one synced file is left
    try:
        migrate(connection, str(database), now_ms)
        connection.execute(load("manta.catalog.sqlite")["add_gap"], (gap.since_ms, gap.until_ms))
    finally:
        connection.close()


def _checksum(file: BinaryIO) -> int:
    value = 0
    while piece := file.read(MIB):
        value = crc32c(piece, value)
    return value


def _check(database: Path, source: Path) -> None:
    connection = apsw.Connection(str(database))
    try:
        answer = str(connection.execute("PRAGMA quick_check(1)").fetchall()[0][0])
    finally:
        connection.close()
    if answer != "ok":
        raise InvalidArgument(f"The database in the backup {source} is damaged: {answer}.")
