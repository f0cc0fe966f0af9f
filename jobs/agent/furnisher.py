"""What a phase brings into its zones, made ready on this node: named by the document, read with the owner's rights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from jobs.agent.object_cache import ObjectCache
from jobs.agent.ports import Caller
from jobs.model.wire import AttemptRef, InputRef, NamedObject, ObjectsReply, ObjectsRequest, PhaseSpec, Purpose
from jobs.sandbox.api import ASSETS_FOLDER
from manta.core.errors import InternalError
from manta.core.limits import ASSET_MAX_BYTES


class CannotFurnishError(Exception):
    """Something that the phase names cannot be had, in one sentence: its tasks cannot be initialised."""


@dataclass(slots=True)
class Furniture:
    """Files of the host by their paths in the zone; kept for it until `release`."""

    assets: Mapping[str, str] = field(default_factory=dict)
    releases: list[Callable[[], None]] = field(default_factory=list)

    def release(self) -> None:
        while self.releases:
            self.releases.pop()()


class Furnisher:
    """Asks a gateway for what the names stand for, in the name of an attempt of the phase."""

    def __init__(self, node_id: str, caller: Caller, objects: ObjectCache) -> None:
        self._node_id = node_id
        self._caller = caller
        self._objects = objects

    async def furnish(self, spec: PhaseSpec, attempt: AttemptRef) -> Furniture:
        """CannotFurnishError; Conflict when the attempt is not this node's any more; the store's own errors."""
        furniture = Furniture()
        if not spec.assets:
            return furniture
        found = await self._find(spec.assets, attempt)
        try:
            assets: dict[str, str] = {}
            for (bucket, key), one in zip(spec.assets, found, strict=True):
                assets[f"{ASSETS_FOLDER}/{bucket}/{key}"] = await self._asset(bucket, key, one, furniture)
            furniture.assets = assets
        except BaseException:
            furniture.release()
            raise
        return furniture

    async def _find(self, names: tuple[tuple[str, str], ...], attempt: AttemptRef) -> tuple[NamedObject, ...]:
        request = ObjectsRequest(self._node_id, attempt, Purpose.READ, names)
        reply = await self._caller.call("objects", request, ObjectsReply)
        if len(reply.objects) != len(names):
            raise InternalError("The gateway answered for other names.")
        return reply.objects

    async def _asset(self, bucket: str, key: str, found: NamedObject, furniture: Furniture) -> str:
        if found.code:
            raise CannotFurnishError(f"The asset {found.message}")
        if found.size > ASSET_MAX_BYTES:
            raise CannotFurnishError(f"The asset s3://{bucket}/{key} has more than {ASSET_MAX_BYTES} bytes.")
        file = await self._objects.hold(InputRef(bucket, key, found.size, found.blob_id, found.sources))
        furniture.releases.append(lambda: self._objects.release(file))
        return str(file)
