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
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final, TypeVar
from weakref import WeakValueDictionary

import msgspec

from jobs.agent.furnishing.image_unpacking import BadImageError, Facts, check_mount_points, unpack
from jobs.agent.furnishing.object_cache import PART, ObjectCache, cache_bytes, moved_away
from jobs.agent.furnishing.shelf import OverShareError, Shelf
from jobs.agent.furnishing.turns import Turns
from jobs.model.wire import InputRef
from jobs.sandbox.api import Sandbox
from manta.core.errors import InsufficientStorage, ServiceUnavailable
from manta.core.limits import IMAGE_CACHE_MAX_BYTES, IMAGE_MAX_BYTES, IMAGES_REMEMBERED_MAX
from storage_nodes.disk import space

_LOG = logging.getLogger("manta.agent")
_ROOT: Final = "root"
_FACTS: Final = "image.json"
_BYTES_PER_ENTRY: Final = 4096
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

Known = TypeVar("Known")


@dataclass(frozen=True, slots=True)
class Image:
    """A root for zones. `env` is the image's own environment, `workdir` the working folder that it names."""

    root: Path
    env: Mapping[str, str]
    workdir: str


class ImageCache:
    """Folders by digest, held while zones use them; no account holds more than its share of them."""

    def __init__(self, folder: Path, sandbox: Sandbox, objects: ObjectCache) -> None:
        self._folder = folder
        self._sandbox = sandbox
        self._objects = objects
        self._shelf = Shelf(IMAGE_CACHE_MAX_BYTES)
        self._max_bytes = IMAGE_MAX_BYTES
        self._promised: list[int] = []
        """Bytes of the disk, to each image that is being unpacked."""
        self._turns = Turns()
        self._turn_ended = asyncio.Event()
        self._digests: OrderedDict[str, str] = OrderedDict()
        self._bad: OrderedDict[str, str] = OrderedDict()
        self._least_bytes: OrderedDict[str, int] = OrderedDict()
        """Of images that an account's share was too small for: how large they are at least."""
        self._removals = count()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def load(self) -> None:
        """What an earlier agent unpacked is used again, but for what it had not finished."""
        self._folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._folder.chmod(0o711)
        bound = cache_bytes(self._folder, IMAGE_CACHE_MAX_BYTES)
        self._shelf = Shelf(bound)
        self._max_bytes = min(IMAGE_MAX_BYTES, self._shelf.share_bytes)
        for path in sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime):
            facts = _read_facts(path) if path.suffix != PART else None
            if facts is None:
                _remove(path)
            else:
                self._shelf.put(path.name, _weight(facts))

    async def hold(self, ref: InputRef, tenant: str) -> Image:
        """The image of that archive, for that account, until `release`.

        BadImageError, OverShareError; the store's own errors.
        """
        async with self._lock(ref.blob_id or ""):
            digest = self._digests.get(ref.blob_id or "")
            if digest is not None:
                async with self._lock(digest):
                    if (image := self._held(digest, tenant)) is not None:
                        return image
            archive = await self._objects.hold(ref, tenant)
            try:
                return await self._hold_archive(ref.blob_id or "", archive, tenant)
            finally:
                self._objects.release(archive, tenant)

    @property
    def used_bytes(self) -> int:
        return self._shelf.used_bytes

    @property
    def held_bytes(self) -> int:
        """Of images that zones use."""
        return self._shelf.held_bytes()

    def release(self, image: Image, tenant: str) -> None:
        self._shelf.release(image.root.parent.name, tenant)

    async def give_up(self, size_bytes: int) -> int:
        """Remove what nobody uses, the longest unused first, until it is so many bytes. How many it was."""
        going = self._shelf.spare(size_bytes)
        await _all_removed(moved_away(self._folder, self._removals, [name for name, _ in going]))
        return sum(size for _, size in going)

    def _lock(self, name: str) -> asyncio.Lock:
        """Of a blob, or, inside that of a blob, of a digest."""
        return self._locks.setdefault(name, asyncio.Lock())

    async def _hold_archive(self, blob_id: str, archive: Path, tenant: str) -> Image:
        digest = await asyncio.to_thread(_digest, archive)
        _remember(self._digests, blob_id, digest)
        async with self._lock(digest):
            if digest in self._bad:
                raise BadImageError(self._bad[digest])
            if (image := self._held(digest, tenant)) is not None:
                return image
            try:
                return self._image(digest, await self._unpack(digest, archive, tenant))
            except BadImageError as error:
                if error.lasting:
                    _remember(self._bad, digest, str(error))
                raise

    def _held(self, digest: str, tenant: str) -> Image | None:
        """The image if it is unpacked, held now. One whose files are gone is forgotten, once no zone has it."""
        if not self._shelf.hold(digest, tenant):
            return None
        facts = _read_facts(self._folder / digest)
        if facts is not None:
            return self._image(digest, facts)
        self._shelf.release(digest, tenant)
        if self._shelf.is_held(digest):
            raise ServiceUnavailable("An unpacked image is gone from this node, while tasks use it.")
        self._shelf.remove(digest)
        return None

    def _image(self, digest: str, facts: Facts) -> Image:
        pairs = (one.partition("=") for one in facts.env)
        env = {name: value for name, equals, value in pairs if name and equals and "\0" not in name + value}
        return Image(self._folder / digest / _ROOT, env, facts.workdir)

    async def _unpack(self, digest: str, archive: Path, tenant: str) -> Facts:
        """It is held by that account then, unless this fails or is cancelled."""
        try:
            facts, going = await self._placed(digest, archive, tenant)
        except OSError as error:
            raise ServiceUnavailable(f"The image cannot be unpacked on this node: {error.strerror}.") from error
        self._shelf.put(digest, _weight(facts), tenant)
        try:
            await _all_removed(going)
        except BaseException:
            self._shelf.release(digest, tenant)
            raise
        return facts

    async def _placed(self, digest: str, archive: Path, tenant: str) -> tuple[Facts, list[Path]]:
        """The image in its place, and what made room for it and is to be removed."""
        part = self._folder / f"{digest}{PART}"
        try:
            await _to_its_end(_begin, part)
            facts = await self._unpacked(digest, archive, part / _ROOT, tenant)
            await _to_its_end(_finish, part, facts)
            self._require_share(tenant, digest, _weight(facts))
            going = self._make_room(digest, _weight(facts))
            part.rename(self._folder / digest)
        except BaseException:
            await _to_its_end(_remove, part)
            raise
        return facts, going

    def _require_share(self, tenant: str, digest: str, size: int) -> None:
        """OverShareError, of which no other try will find out by unpacking."""
        try:
            self._shelf.require_share(tenant, size)
        except OverShareError:
            _remember(self._least_bytes, digest, size)
            raise

    def _make_room(self, digest: str, size: int) -> list[Path]:
        """What is to be removed; under its own name, and under that of the new image, there is nothing any more."""
        going = self._shelf.make_room(size)
        if going is None:
            raise ServiceUnavailable("The node's cache is full of images that running tasks use.")
        return moved_away(self._folder, self._removals, [*going, digest])

    async def _unpacked(self, digest: str, archive: Path, target: Path, tenant: str) -> Facts:
        """OverShareError, or InsufficientStorage, which are no faults of the archive, where an image may need more."""
        self._require_share(tenant, digest, self._least_bytes.get(digest, 0))
        async with self._room(tenant) as room:
            share = self._shelf.allowance(tenant)
            most = min(room, share)
            try:
                return await unpack(self._sandbox, f"image-{digest[:12]}", archive, target, most)
            except BadImageError as error:
                if not error.too_large or most == self._max_bytes:
                    raise
                if most == share:
                    self._require_share(tenant, digest, most + 1)
                raise InsufficientStorage from None

    @contextlib.asynccontextmanager
    async def _room(self, tenant: str) -> AsyncIterator[int]:
        """How many bytes of the disk an image may need, once it is the account's turn: none that others may need."""
        turn = self._turns.join(tenant)
        try:
            while self._turns.next(room=self._free_bytes() >= self._max_bytes) is not turn:
                self._turn_ended.clear()
                await self._turn_ended.wait()
            self._turns.begin(turn)
            self._turn_ended.set()
            promise = max(0, min(self._max_bytes, self._free_bytes()))
            self._promised.append(promise)
            try:
                yield promise
            finally:
                self._promised.remove(promise)
        finally:
            self._turns.leave(turn)
            self._turn_ended.set()

    def _free_bytes(self) -> int:
        disk = space.measure(str(self._folder))
        return disk.free_bytes - disk.reserve_bytes - sum(self._promised)


def _digest(archive: Path) -> str:
    with open(archive, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _begin(part: Path) -> None:
    _remove(part)
    part.mkdir(mode=0o711)
    (part / _ROOT).mkdir(mode=0o755)


def _finish(part: Path, facts: Facts) -> None:
    check_mount_points(part / _ROOT)
    (part / _FACTS).write_bytes(msgspec.json.encode(msgspec.structs.replace(facts, boot=_boot())))


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


async def _to_its_end(work: Callable[..., None], *arguments: object) -> None:
    """In a thread, whose end a cancelled caller waits for as well: whoever unpacks next uses the same folder."""
    going = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    cancelled: asyncio.CancelledError | None = None
    while not going.done():
        try:
            await asyncio.wait([going])
        except asyncio.CancelledError as error:
            cancelled = error
    failed = going.exception()
    if cancelled is not None:
        raise cancelled
    if failed is not None:
        raise failed


async def _all_removed(folders: Sequence[Path]) -> None:
    """Those that a cancelled caller does not wait for are removed all the same."""
    loop = asyncio.get_running_loop()
    await asyncio.gather(*[loop.run_in_executor(None, _remove, folder) for folder in folders])


def _remember(memory: "OrderedDict[str, Known]", name: str, what: Known) -> None:
    memory[name] = what
    while len(memory) > IMAGES_REMEMBERED_MAX:
        memory.popitem(last=False)
