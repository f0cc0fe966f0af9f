"""What a phase brings into its zones, made ready on this node: named by the document, read with the owner's rights."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from jobs.agent.furnishing.image_cache import Image, ImageCache
from jobs.agent.furnishing.image_unpacking import BadImageError
from jobs.agent.furnishing.object_cache import ObjectCache
from jobs.agent.furnishing.shelf import OverShareError
from jobs.agent.ports import Caller
from jobs.model.furniture import ObjectName
from jobs.model.program import PackedProgram
from jobs.model.questions import NamedObject, ObjectsReply, ObjectsRequest, Purpose
from jobs.model.wire import AttemptRef, InputRef, PhaseSpec
from jobs.programs.python_runtime import PythonRuntime, image_check
from jobs.sandbox.api import ASSETS_FOLDER
from manta.core.errors import InternalError
from manta.core.limits import ASSET_MAX_BYTES, CACHE_PATIENCE_S, CACHE_RETRY_S, IMAGE_ARCHIVE_MAX_BYTES


class CannotFurnishError(Exception):
    """Something that the phase names cannot be had, in one sentence: its tasks cannot be initialised."""


@dataclass(slots=True)
class Furniture:
    """Files of the host by their paths in the zone, and its root if that is an image; kept until `release`.

    `files` are others, by what they hold; `init` comes before the phase's own.
    """

    assets: Mapping[str, str] = field(default_factory=dict)
    image: Image | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    init: str | None = None
    releases: list[Callable[[], None]] = field(default_factory=list)

    def release(self) -> None:
        while self.releases:
            self.releases.pop()()


class Furnisher:
    """Asks a gateway for what the names stand for, in the name of an attempt of the phase."""

    def __init__(
        self, node_id: str, caller: Caller, objects: ObjectCache, images: ImageCache, python: PythonRuntime
    ) -> None:
        self._node_id = node_id
        self._caller = caller
        self._objects = objects
        self._images = images
        self._python = python
        self._patience = int(CACHE_PATIENCE_S / CACHE_RETRY_S)

    async def furnish(self, spec: PhaseSpec, attempt: AttemptRef) -> Furniture:
        """CannotFurnishError; Conflict when the attempt is not this node's any more; the store's own errors.

        While the account's other zones keep its share of a cache it waits, for CACHE_PATIENCE_S, then OverShareError.
        """
        for _ in range(self._patience):
            try:
                return await self._furnish(spec, attempt)
            except OverShareError as error:
                if error.lasting:
                    raise
            await asyncio.sleep(CACHE_RETRY_S)
        return await self._furnish(spec, attempt)

    async def _furnish(self, spec: PhaseSpec, attempt: AttemptRef) -> Furniture:
        furniture = Furniture()
        if spec.program is not None:
            await self._bring_program(spec.program, furniture, has_image=spec.image is not None)
        names = (*spec.assets, *((spec.image,) if spec.image is not None else ()))
        if not names:
            return furniture
        found = await self._find(names, attempt)
        assets_found = found[: len(spec.assets)]
        self._objects.require_possible(sum({one.blob_id: one.size for one in assets_found}.values()))
        try:
            assets: dict[str, str] = {}
            for (bucket, key), one in zip(spec.assets, assets_found, strict=True):
                assets[f"{ASSETS_FOLDER}/{bucket}/{key}"] = await self._asset(
                    spec.tenant, (bucket, key), one, furniture
                )
            furniture.assets = assets
            if spec.image is not None:
                furniture.image = await self._image(spec.tenant, spec.image, found[-1], furniture)
        except BaseException:
            furniture.release()
            raise
        return furniture

    async def _bring_program(self, program: PackedProgram, furniture: Furniture, *, has_image: bool) -> None:
        if has_image:
            furniture.files = self._python.files_in_image(program)
            furniture.init = image_check(program)
            return
        if (refusal := self._python.refusal(program)) is not None:
            raise CannotFurnishError(refusal)
        furniture.files = await asyncio.to_thread(self._python.files, program)

    async def _find(self, names: tuple[tuple[str, str], ...], attempt: AttemptRef) -> tuple[NamedObject, ...]:
        request = ObjectsRequest(self._node_id, attempt, Purpose.READ, names)
        reply = await self._caller.call("objects", request, ObjectsReply)
        if len(reply.objects) != len(names):
            raise InternalError("The gateway answered for other names.")
        return reply.objects

    async def _asset(self, tenant: str, name: ObjectName, found: NamedObject, furniture: Furniture) -> str:
        bucket, key = name
        ref = _ref("asset", bucket, key, found, ASSET_MAX_BYTES)
        file = await self._objects.hold(ref, tenant)
        furniture.releases.append(lambda: self._objects.release(file, tenant))
        return str(file)

    async def _image(self, tenant: str, name: ObjectName, found: NamedObject, furniture: Furniture) -> Image:
        bucket, key = name
        ref = _ref("image", bucket, key, found, IMAGE_ARCHIVE_MAX_BYTES)
        try:
            image = await self._images.hold(ref, tenant)
        except BadImageError as error:
            raise CannotFurnishError(f"The image s3://{bucket}/{key} cannot be unpacked: {error}.") from None
        furniture.releases.append(lambda: self._images.release(image, tenant))
        return image


def _ref(what: str, bucket: str, key: str, found: NamedObject, max_bytes: int) -> InputRef:
    if found.code:
        raise CannotFurnishError(f"The {what} {found.message}")
    if found.size > max_bytes:
        raise CannotFurnishError(f"The {what} s3://{bucket}/{key} has more than {max_bytes} bytes.")
    return InputRef(bucket, key, found.size, found.blob_id, found.sources)
