"""manta: a compute-on-storage object store. `manta.connect()` gives a client; see manta.sdk."""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from manta.sdk import Job, JobFailedError, Store, connect

__all__ = ["Job", "JobFailedError", "Store", "__version__", "connect"]


def __getattr__(name: str) -> object:
    """The client on first use: server processes import this package too and must not pay for it."""
    if name in {"Job", "JobFailedError", "Store", "connect"}:
        from manta import sdk

        return getattr(sdk, name)
    raise AttributeError(f"module 'manta' has no attribute {name!r}")
