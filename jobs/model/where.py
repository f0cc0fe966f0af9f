"""Which objects of a prefix or glob an input means: bounds on size and date, equality of user metadata. Pure.

    {"size": {"ge": "1M", "lt": "1G"}, "modified": {"ge": "2026-01-01"}, "metadata": {"project": "apollo"}}

All that is written must hold. Dates are ISO 8601, UTC where they do not say otherwise; a day alone begins at midnight.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import msgspec

from jobs.model.properties import check_known
from jobs.model.units import parse_size
from manta.core.errors import InvalidArgument
from manta.core.limits import METADATA_MAX_BYTES, WHERE_METADATA_MAX

_KNOWN = ("size", "modified", "metadata")
_LATER = ("tags",)
_BOUNDS = ("lt", "le", "gt", "ge")
_META_PREFIX = "x-amz-meta-"
NUMBER_MAX = 1 << 62


class Where(msgspec.Struct, frozen=True, array_like=True):
    """Sizes in bytes, times in ms since 1970; bounds are inclusive. `metadata` are (name, value)."""

    size_min: int = 0
    size_max: int = NUMBER_MAX
    modified_min_ms: int = -NUMBER_MAX
    modified_max_ms: int = NUMBER_MAX
    metadata: tuple[tuple[str, str], ...] = ()

    def matches(self, size: int, modified_ms: int, metadata: Callable[[], Mapping[str, str]]) -> bool:
        """`metadata` is asked only when it matters."""
        if not self.size_min <= size <= self.size_max:
            return False
        if not self.modified_min_ms <= modified_ms <= self.modified_max_ms:
            return False
        if not self.metadata:
            return True
        given = metadata()
        return all(given.get(name) == value for name, value in self.metadata)


def parse_where(value: object) -> Where:
    """InvalidArgument for what has no meaning, with the nearest known name; NotImplementedHere for tags."""
    if not isinstance(value, Mapping):
        raise InvalidArgument("`where` of an input is an object with `size`, `modified` or `metadata`.")
    check_known(value, _KNOWN, _LATER, "`where`")
    size_min, size_max = _bounds(value.get("size"), "size", lambda given: parse_size(given, "size"), 0)
    modified = _bounds(value.get("modified"), "modified", _parse_date, -NUMBER_MAX)
    return Where(size_min, size_max, *modified, _metadata(value.get("metadata")))


def _bounds(value: object, name: str, parse: Callable[[object], int], least: int) -> tuple[int, int]:
    most = NUMBER_MAX
    if value is None:
        return least, most
    if not isinstance(value, Mapping) or not value:
        raise InvalidArgument(f'`{name}` of `where` is an object of bounds, such as {{"ge": …, "lt": …}}.')
    check_known(value, _BOUNDS, (), f"`{name}` of `where`")
    for bound, given in value.items():
        number = min(parse(given), NUMBER_MAX)
        if bound in ("gt", "ge"):
            least = max(least, number + (bound == "gt"))
        else:
            most = min(most, number - (bound == "lt"))
    return least, most


def _parse_date(given: object) -> int:
    """Milliseconds since 1970."""
    try:
        moment = datetime.fromisoformat(given if isinstance(given, str) else "")
        moment = moment.replace(tzinfo=moment.tzinfo or UTC)
        return round(moment.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise InvalidArgument(
            f"`modified` of `where` is a date such as 2026-01-31 or 2026-01-31T12:00:00Z, not {given!r}."
        ) from None


def _metadata(value: object) -> tuple[tuple[str, str], ...]:
    if value is None:
        return ()
    if not isinstance(value, Mapping) or not all(isinstance(one, str) for pair in value.items() for one in pair):
        raise InvalidArgument("`metadata` of `where` is an object of names and texts.")
    pairs = {name.lower().removeprefix(_META_PREFIX): text for name, text in value.items()}
    if (
        len(pairs) > WHERE_METADATA_MAX
        or sum(len(name) + len(text) for name, text in pairs.items()) > METADATA_MAX_BYTES
    ):
        raise InvalidArgument(
            f"`metadata` of `where` has at most {WHERE_METADATA_MAX} names, and {METADATA_MAX_BYTES} bytes in all."
        )
    return tuple(sorted(pairs.items()))
