"""Packs Python functions for tasks, by value where they are the user's own, so that nodes need not have them."""

import base64
import contextlib
import functools
import io
import sys
import sysconfig
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from jobs.model.program import check_size
from manta.core.errors import InvalidArgument
from manta.core.limits import PROGRAM_NAME_MAX_CHARS

Function = Callable[..., Any]
_OURS: Final = ("manta", "jobs", "storage_nodes")
"""Installed with the client, wherever it was installed from."""
_SITES: Final = ("site-packages", "dist-packages")
_PACKING: Final = threading.Lock()
"""What cloudpickle packs by value is told it for the whole process: one thread packs at a time."""
_CACHED: Final = functools.cache(len)


@dataclass(frozen=True, slots=True)
class Step:
    """What a map phase does with each value: `kind` is map, filter or flat_map."""

    kind: str
    function: Function


def pack_map(steps: Sequence[Step], fold: Function | None = None) -> dict[str, str]:
    """The `program` of a map phase. With `fold`, each task already folds its own values."""
    name = ".".join(_name(step.function) for step in steps)
    return _pack(name, ([(step.kind, step.function) for step in steps], fold))


def pack_reduce(fold: Function) -> dict[str, str]:
    """The `program` of a reduce phase."""
    return _pack(_name(fold), (None, fold))


def _pack(name: str, content: object) -> dict[str, str]:
    """InvalidArgument when it cannot be packed, or is too large."""
    try:
        with _PACKING, _local_modules_by_value():
            code = zlib.compress(_dumped(content), 9)
    except Exception as error:  # whatever an object of the user's raises while it is packed
        raise InvalidArgument(
            f"The function {name} cannot be packed: {type(error).__name__}: {error}. What it uses from outside is "
            "packed with it: make what cannot be packed (files, locks, connections) within the function."
        ) from None
    check_size(len(code), f"The function {name}")
    return {
        "name": name[:PROGRAM_NAME_MAX_CHARS],
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "code": base64.b64encode(code).decode(),
    }


def _dumped(content: object) -> bytes:
    import cloudpickle  # here: commands that pack nothing start without it

    class Packer(cloudpickle.Pickler):  # type: ignore[misc]
        dispatch_table = cloudpickle.Pickler.dispatch_table.new_child({type(_CACHED): _reduce_cached})

    buffer = io.BytesIO()
    Packer(buffer).dump(content)
    return buffer.getvalue()


def _reduce_cached(function: Any) -> str | tuple[Any, ...]:
    """A function with a cache (functools): by itself it would be packed by name alone."""
    import cloudpickle

    by_value = {"__main__", *cloudpickle.list_registry_pickle_by_value()}
    if function.__module__ not in by_value and "<locals>" not in function.__qualname__:
        return str(function.__qualname__)
    return functools.lru_cache(**function.cache_parameters()), (function.__wrapped__,)


def _name(function: Function) -> str:
    if isinstance(function, functools.partial):
        return _name(function.func)
    name = str(getattr(function, "__qualname__", type(function).__name__)).rpartition("<locals>.")[2]
    return "".join(character if character.isprintable() else "?" for character in name) or "function"


@contextlib.contextmanager
def _local_modules_by_value() -> Iterator[None]:
    """While it lasts, functions of the user's modules are packed whole, as those of `__main__` always are."""
    import cloudpickle

    before = cloudpickle.list_registry_pickle_by_value()
    added = [module for module in _local_modules() if module.__name__ not in before]
    try:
        for module in added:
            cloudpickle.register_pickle_by_value(module)
        yield
    finally:
        for module in added:
            with contextlib.suppress(ValueError):
                cloudpickle.unregister_pickle_by_value(module)


def _local_modules() -> list[ModuleType]:
    """Those whose files lie neither in Python itself nor among installed libraries."""
    library = tuple({str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "platstdlib")})
    return [module for module in list(sys.modules.values()) if _is_local(module, library)]


def _is_local(module: ModuleType, library: tuple[str, ...]) -> bool:
    name = getattr(module, "__name__", None)
    file = getattr(module, "__file__", None)
    if not isinstance(name, str) or not isinstance(file, str) or sys.modules.get(name) is not module:
        return False
    if name == "__main__" or name.partition(".")[0] in _OURS:
        return False
    path = Path(file).resolve()
    return not (set(_SITES) & set(path.parts)) and not str(path).startswith(library)
