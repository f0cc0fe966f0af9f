"""Copies of objects that zones need as files: assets, and archives of images; by blob id, so that none is stale."""

import asyncio
import contextlib
import os
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import BinaryIO, Final
from weakref import WeakValueDictionary

from jobs.agent.furnishing.shelf import Shelf
from jobs.agent.streams.inputs import ReduceInputs
from jobs.model.wire import InputRef
from manta.core.errors import ServiceUnavailable
from manta.core.limits import CACHE_DISK_FRACTION, OBJECT_CACHE_MAX_BYTES
from manta.core.names import check_id
from storage_nodes.disk import space

_EMPTY: Final = "empty"
PART: Final = ".part"
_MODE: Final = 0o555


class ObjectCache:
    """Files of `folder`, executable and for everyone to read; a file that is held is not removed, and no account
    holds more than its share.

    Blobs themselves cannot serve: they are neither executable nor, where the object has its copies elsewhere, here.
    """

    def __init__(self, folder: Path, inputs: ReduceInputs) -> None:
        self._folder = folder
        self._inputs = inputs
        self._shelf = Shelf(OBJECT_CACHE_MAX_BYTES)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._promised_bytes = 0
        """Of the disk, to what is being fetched."""
        self._removals = count()

    def load(self) -> None:
        """What an earlier agent left is used again, but for what it had not finished."""
        self._folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._folder.chmod(0o711)
        self._shelf = Shelf(cache_bytes(self._folder, OBJECT_CACHE_MAX_BYTES))
        for path in sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime):
            if path.suffix == PART:
                path.unlink()
            else:
                self._shelf.put(path.name, path.stat().st_size)
        _unlink(moved_away(self._folder, self._removals, self._shelf.make_room(0) or []))

    async def hold(self, ref: InputRef, account: str) -> Path:
        """The object's file, for that account, until `release`. OverShareError; the store's own errors."""
        name = _EMPTY if ref.blob_id is None else check_id(ref.blob_id)
        lock = self._locks.setdefault(name, asyncio.Lock())
        async with lock:
            if not self._shelf.hold(name, account):
                await self._fetch(name, ref, account)
        return self._folder / name

    @property
    def used_bytes(self) -> int:
        return self._shelf.used_bytes

    def release(self, file: Path, account: str) -> None:
        self._shelf.release(file.name, account)

    def require_possible(self, size_bytes: int) -> None:
        """OverShareError for objects that together have more than an account may ever hold."""
        self._shelf.require_possible(size_bytes)

    async def give_up(self, size_bytes: int) -> int:
        """Remove what nobody uses, the longest unused first, until it is so many bytes. How many it was."""
        going = self._shelf.spare(size_bytes)
        await asyncio.to_thread(_unlink, moved_away(self._folder, self._removals, [name for name, _ in going]))
        return sum(size for _, size in going)

    async def _fetch(self, name: str, ref: InputRef, account: str) -> None:
        self._shelf.require_share(account, ref.size)
        going = self._shelf.make_room(ref.size)
        if going is None:
            raise ServiceUnavailable("The node's cache is full of what running tasks use: try again later.")
        self._shelf.put(name, ref.size, account)
        try:
            await asyncio.to_thread(_unlink, moved_away(self._folder, self._removals, going))
            await self._write(self._folder / name, ref)
        except OSError as error:
            self._shelf.remove(name)
            raise ServiceUnavailable(f"The node's cache cannot be written: {error.strerror}.") from error
        except BaseException:
            self._shelf.remove(name)
            raise

    async def _write(self, target: Path, ref: InputRef) -> None:
        """InsufficientStorage when it would not fit beside what else is being fetched."""
        space.require(str(self._folder), self._promised_bytes + ref.size)
        part = target.with_suffix(PART)
        self._promised_bytes += ref.size
        try:
            with await asyncio.to_thread(open, part, "wb") as file:
                async with contextlib.aclosing(self._inputs.whole(ref)) as pieces:
                    async for data in pieces:
                        await asyncio.to_thread(file.write, data)
                await asyncio.to_thread(_finish, file)
            part.rename(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        finally:
            self._promised_bytes -= ref.size


def moved_away(folder: Path, numbers: Iterator[int], names: Sequence[str]) -> list[Path]:
    """Under names by which a later agent removes them, so that nothing that is made anew under theirs is removed."""
    away = [folder / f"{name}-{next(numbers)}{PART}" for name in names]
    for name, path in zip(names, away, strict=True):
        with contextlib.suppress(FileNotFoundError):
            (folder / name).rename(path)
    return away


def _unlink(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _finish(file: BinaryIO) -> None:
    """Durable before it has its name: a power cut leaves no torn file under one."""
    file.flush()
    os.fchmod(file.fileno(), _MODE)
    os.fsync(file.fileno())


def cache_bytes(folder: Path, most: int) -> int:
    """The bound of a cache in that folder: `most`, and no more than its share of the disk."""
    return space.share(str(folder), CACHE_DISK_FRACTION, most)
