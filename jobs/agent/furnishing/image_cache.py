"""Images unpacked on this node, each once by the digest of its archive, and removed when long unused.

What a client sent is unpacked inside a zone (S6); this process hashes the archive, reads a few lines of JSON, and looks
whether what a zone will mount over lies where it should.
"""

import asyncio
import contextlib
import hashlib
import logging
import shutil
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

import msgspec

from jobs.agent.furnishing.image_unpacking import BadImageError, Facts, check_mount_points, unpack
from jobs.agent.furnishing.object_cache import ObjectCache, cache_bytes
from jobs.agent.furnishing.shelf import Shelf
from jobs.model.wire import InputRef
from jobs.sandbox.api import Sandbox
from manta.core.errors import InsufficientStorage, ServiceUnavailable
from manta.core.limits import (
    IMAGE_ACCOUNT_UNPACKS_MAX,
    IMAGE_CACHE_MAX_BYTES,
    IMAGE_MAX_BYTES,
    IMAGE_UNPACKS_MAX,
    IMAGES_REMEMBERED_MAX,
)
from storage_nodes.disk import space

_LOG = logging.getLogger("manta.agent")
_ROOT: Final = "root"
_FACTS: Final = "image.json"
_PART: Final = ".part"
_BYTES_PER_ENTRY: Final = 4096
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Image:
    """A root for zones. `env` is the image's own environment, `workdir` the working folder that it names."""

    root: Path
    env: Mapping[str, str]
    workdir: str


class ImageCache:
    """Folders by digest, held while zones use them."""

    def __init__(self, folder: Path, sandbox: Sandbox, objects: ObjectCache) -> None:
        self._folder = folder
        self._sandbox = sandbox
        self._objects = objects
        self._shelf = Shelf(IMAGE_CACHE_MAX_BYTES)
        self._max_bytes = IMAGE_MAX_BYTES
        self._promised: list[tuple[str, int]] = []
        """Bytes of the disk, to each image that is being unpacked; for which account."""
        self._unpacked_one = asyncio.Event()
        self._digests: OrderedDict[str, str] = OrderedDict()
        self._bad: OrderedDict[str, str] = OrderedDict()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def load(self) -> None:
        """What an earlier agent unpacked is used again, but for what it had not finished."""
        self._folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._folder.chmod(0o711)
        bound = cache_bytes(self._folder, IMAGE_CACHE_MAX_BYTES)
        self._shelf = Shelf(bound)
        self._max_bytes = min(IMAGE_MAX_BYTES, bound)
        for path in sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime):
            facts = _read_facts(path) if path.suffix != _PART else None
            if facts is None:
                _remove(path)
            else:
                self._shelf.put(path.name, _weight(facts))

    async def hold(self, ref: InputRef, tenant: str) -> Image:
        """The image of that archive, for that account, until `release`. BadImageError; the store's own errors."""
        lock = self._locks.setdefault(ref.blob_id or "", asyncio.Lock())
        async with lock:
            digest = self._digests.get(ref.blob_id or "")
            if digest is not None and self._shelf.hold(digest):
                return self._image(digest)
            archive = await self._objects.hold(ref)
            try:
                return await self._hold_archive(ref.blob_id or "", archive, tenant)
            finally:
                self._objects.release(archive)

    @property
    def used_bytes(self) -> int:
        return self._shelf.used_bytes

    def release(self, image: Image) -> None:
        self._shelf.release(image.root.parent.name)

    async def _hold_archive(self, blob_id: str, archive: Path, tenant: str) -> Image:
        digest = await asyncio.to_thread(_digest, archive)
        _remember(self._digests, blob_id, digest)
        lock = self._locks.setdefault(digest, asyncio.Lock())
        async with lock:
            if digest in self._bad:
                raise BadImageError(self._bad[digest])
            if not self._shelf.hold(digest):
                try:
                    await self._unpack(digest, archive, tenant)
                except BadImageError as error:
                    if error.lasting:
                        _remember(self._bad, digest, str(error))
                    raise
        return self._image(digest)

    def _image(self, digest: str) -> Image:
        facts = _read_facts(self._folder / digest)
        if facts is None:
            raise ServiceUnavailable("An unpacked image is gone from this node.")
        pairs = (one.partition("=") for one in facts.env)
        env = {name: value for name, equals, value in pairs if name and equals and "\0" not in name + value}
        return Image(self._folder / digest / _ROOT, env, facts.workdir)

    async def _unpack(self, digest: str, archive: Path, tenant: str) -> None:
        part = self._folder / f"{digest}{_PART}"
        try:
            await asyncio.to_thread(_begin, part)
            facts = await self._unpacked(digest, archive, part / _ROOT, tenant)
            await self._make_room(_weight(facts))
            self._shelf.put(digest, _weight(facts), held=True)
            try:
                await asyncio.to_thread(_finish, part, self._folder / digest, facts)
            except BaseException:
                self._shelf.remove(digest)
                raise
        except OSError as error:
            raise ServiceUnavailable(f"The image cannot be unpacked on this node: {error.strerror}.") from error
        finally:
            await asyncio.to_thread(_remove, part)

    async def _make_room(self, size: int) -> None:
        going = self._shelf.make_room(size)
        if going is None:
            raise ServiceUnavailable("The node's cache is full of images that running tasks use.")
        for name in going:
            await asyncio.to_thread(_remove, self._folder / name)

    async def _unpacked(self, digest: str, archive: Path, target: Path, tenant: str) -> Facts:
        """InsufficientStorage, not a fault of the archive, where the disk has less room than an image may need."""
        async with self._room(tenant) as most:
            try:
                return await unpack(self._sandbox, f"image-{digest[:12]}", archive, target, most)
            except BadImageError:
                if most < self._max_bytes:
                    raise InsufficientStorage from None
                raise

    @contextlib.asynccontextmanager
    async def _room(self, tenant: str) -> AsyncIterator[int]:
        """How many bytes the account's image may have, once it may be unpacked."""
        while not self._may_begin(tenant):
            self._unpacked_one.clear()
            await self._unpacked_one.wait()
        promise = tenant, max(0, min(self._max_bytes, self._free_bytes()))
        self._promised.append(promise)
        try:
            yield promise[1]
        finally:
            self._promised.remove(promise)
            self._unpacked_one.set()

    def _may_begin(self, tenant: str) -> bool:
        """Beside others none that might need what they were promised, and not an account's alone."""
        if not self._promised:
            return True
        own = sum(whose == tenant for whose, _ in self._promised)
        few = own < IMAGE_ACCOUNT_UNPACKS_MAX and len(self._promised) < IMAGE_UNPACKS_MAX
        return few and self._free_bytes() >= self._max_bytes

    def _free_bytes(self) -> int:
        disk = space.measure(str(self._folder))
        return disk.free_bytes - disk.reserve_bytes - sum(promised for _, promised in self._promised)


def _digest(archive: Path) -> str:
    with open(archive, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _begin(part: Path) -> None:
    _remove(part)
    part.mkdir(mode=0o711)
    (part / _ROOT).mkdir(mode=0o755)


def _finish(part: Path, target: Path, facts: Facts) -> None:
    check_mount_points(part / _ROOT)
    (part / _FACTS).write_bytes(msgspec.json.encode(msgspec.structs.replace(facts, boot=_boot())))
    part.rename(target)


def _read_facts(folder: Path) -> Facts | None:
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        facts = msgspec.json.decode((folder / _FACTS).read_bytes(), type=Facts)
        return facts if facts.boot == _boot() else None
    return None


def _boot() -> str:
    return _BOOT_ID.read_text().strip()


def _weight(facts: Facts) -> int:
    return facts.bytes + _BYTES_PER_ENTRY * facts.entries


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except (OSError, RecursionError) as error:
        _LOG.warning("%s cannot be removed: %s", folder, error)


def _remember(memory: "OrderedDict[str, str]", name: str, what: str) -> None:
    memory[name] = what
    while len(memory) > IMAGES_REMEMBERED_MAX:
        memory.popitem(last=False)
