"""The objects that a phase brings into its zones, as a document names them: assets, and an image. Pure."""

from collections.abc import Sequence

from manta.core import names
from manta.core.errors import InvalidArgument, MantaError
from manta.core.limits import ASSETS_MAX, PATH_COMPONENT_MAX_BYTES

ObjectName = tuple[str, str]
"""(bucket, key)."""


def parse_assets(value: object, where: str) -> tuple[ObjectName, ...]:
    """The list of s3://bucket/key, each once, in its order. InvalidArgument also for keys that are no paths."""
    if value is None:
        return ()
    if not isinstance(value, list):
        raise InvalidArgument(f"`assets` of {where} is a list of s3://bucket/key.")
    found = tuple(dict.fromkeys(_object(item, f"`assets` of {where}") for item in value))
    if len(found) > ASSETS_MAX:
        raise InvalidArgument(f"A phase has at most {ASSETS_MAX} assets, not {len(found)}.")
    _check_paths(found, where)
    return found


def parse_image(value: object, where: str) -> ObjectName | None:
    """The archive's name. InvalidArgument."""
    return None if value is None else _object(value, f"`image` of {where}")


def _object(value: object, what: str) -> ObjectName:
    if not isinstance(value, str):
        raise InvalidArgument(f"{what}: an object is written s3://bucket/key, not {value!r}.")
    try:
        bucket, key = names.split_uri(value)
        return bucket, names.check_key(key)
    except MantaError as error:
        raise InvalidArgument(f"{what}: {value[:200]!r}: {error.message}") from None


def _check_paths(assets: Sequence[ObjectName], where: str) -> None:
    """Each appears as a file below its bucket's folder: its key has to be the path of one, and of no other's folder."""
    folders: set[ObjectName] = set()
    for bucket, key in assets:
        parts = key.split("/")
        if any(part in ("", ".", "..") or len(part.encode()) > PATH_COMPONENT_MAX_BYTES for part in parts):
            raise InvalidArgument(f"`assets` of {where}: the key {key!r} cannot be a file's path: copy it to another.")
        folders.update((bucket, "/".join(parts[:depth])) for depth in range(1, len(parts)))
    if both := folders.intersection(assets):
        bucket, key = min(both)
        raise InvalidArgument(f"`assets` of {where}: s3://{bucket}/{key} would be a file and a folder at once.")
