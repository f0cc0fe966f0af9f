"""The catalog on PostgreSQL: as every relational one, with a quicker way for the commonest change, a new key."""

from manta.catalog.ops import Op, Script
from manta.catalog.packing import pack_numbers
from manta.catalog.postgres.engine import Clash
from manta.catalog.records import ObjectVersion, WriteCondition
from manta.catalog.relational.catalog import RelationalCatalog
from manta.catalog.relational.objects import object_row
from manta.catalog.rules import is_young

_NO_CONDITION_ON_NEW = (None, WriteCondition(), WriteCondition(if_none_match=("*",)))


class PostgresCatalog(RelationalCatalog):
    async def put_object(
        self,
        bucket: str,
        version: ObjectVersion,
        condition: WriteCondition | None = None,
        *,
        new_blob: bool = True,
        bucket_id: int | None = None,
    ) -> None:
        simple = new_blob and condition in _NO_CONDITION_ON_NEW and self._is_young(version)
        if simple and await self._put_new(bucket, version, bucket_id):
            return
        await super().put_object(bucket, version, condition, new_blob=new_blob, bucket_id=bucket_id)

    def _is_young(self, version: ObjectVersion) -> bool:
        return version.blob is None or is_young(version.blob.blob_id, self.shared.births_now_ms())

    async def _put_new(self, bucket: str, version: ObjectVersion, bucket_id: int | None) -> bool:
        """One statement in place of seven when the key is new; else False, and nothing is done."""
        nodes = () if version.blob is None else version.blob.nodes
        await self.shared.learn(nodes)
        numbers = self.shared.remembered(nodes)
        if numbers is None:
            return False
        args = (bucket, *object_row(0, version)[1:], pack_numbers(numbers), numbers, bucket_id)
        try:
            return await self.engine.look(lambda: _put_new(args))
        except Clash:  # bucket removed just now, or blob id taken: the script says
            return False


def _put_new(args: tuple[object, ...]) -> Script[bool]:
    rows = yield Op("put_new_object", args)
    return bool(rows[0][1])
