"""Sizes and durations as people write them: `256M`, `1.5G`, `10m`, `90s`; and as they are shown."""

import re
import sys

from manta.core import limits
from manta.core.errors import InvalidArgument

_QUANTITY = re.compile(r"(\d{1,18}(?:\.\d{1,6})?)\s*([A-Za-z]*)")
_SIZES = {"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_FLOAT_MAX = sys.float_info.max
_DURATIONS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_size(value: object, name: str) -> int:
    """Bytes of `256M`, `256MiB`, `256MB` (all powers of 1024) or of a whole number; InvalidArgument names `name`."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and (match := _QUANTITY.fullmatch(value.strip())):
        unit = match[2].upper()
        factor = _SIZES.get(unit if len(unit) < 2 else unit.removesuffix("B").removesuffix("I"))
        if factor is not None:
            return int(float(match[1]) * factor) if "." in match[1] else int(match[1]) * factor
    raise InvalidArgument(f"`{name}` is a size such as 256M or 1G, not {value!r}.")


def parse_duration(value: object, name: str) -> float:
    """Seconds of `10m`, `90s`, `500ms`, `2h`, `7d` or of a number; InvalidArgument names `name`."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _FLOAT_MAX:
        return float(value)
    if isinstance(value, str) and (match := _QUANTITY.fullmatch(value.strip())):
        factor = _DURATIONS.get(match[2].lower())
        if factor is not None:
            return float(match[1]) * factor
    raise InvalidArgument(f"`{name}` is a duration such as 90s or 10m, not {value!r}.")


def parse_memory(value: object) -> int:
    """Bytes of a task's, or a session's, `memory`."""
    size = parse_size(value, "memory")
    least, most = limits.TASK_MEMORY_MIN_BYTES, limits.TASK_MEMORY_MAX_BYTES
    if not least <= size <= most:
        raise InvalidArgument(f"`memory` lies between {least >> 20}M and {most >> 30}G.")
    return size


def parse_disk(value: object, memory_bytes: int) -> int:
    """Bytes of a task's, or a session's, scratch folder: its `disk`, None where it is not asked for."""
    most = scratch_most(memory_bytes)
    if value is None:
        return min(limits.TASK_SCRATCH_DEFAULT_BYTES, most)
    size = parse_size(value, "disk")
    if not 1 <= size <= limits.TASK_SCRATCH_MAX_BYTES:
        raise InvalidArgument(f"`disk` lies between 1 and {limits.TASK_SCRATCH_MAX_BYTES >> 30}G.")
    if size > most:
        raise InvalidArgument(
            f"`disk` is {_mib(size)}, but scratch has at most three quarters of `memory`, which are {_mib(most)} of "
            f"{_mib(memory_bytes)}: ask for more `memory`, or less `disk`."
        )
    return size


def scratch_most(memory_bytes: int) -> int:
    """Bytes of scratch that a task of that memory has at most."""
    return int(memory_bytes * limits.TASK_SCRATCH_OF_MEMORY)


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / limits.MIB:.15g}M"
