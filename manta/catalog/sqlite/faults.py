"""What SQLite's errors mean to us: a full disk, one that cannot be read, a sync that failed, another process."""

import apsw

from manta.core.errors import InsufficientStorage, InternalError, MantaError, ServiceUnavailable

_SYNCS = (apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC, apsw.SQLITE_IOERR)
"""The last one is an error of which SQLite does not say what failed."""


def is_failed_sync(error: BaseException) -> bool:
    """After it nobody knows what the disk holds."""
    return isinstance(error, apsw.IOError) and _code(error) in _SYNCS


def translate(error: BaseException) -> BaseException:
    """SQLite's error as one of ours; any other as it is."""
    return _translate(error) if isinstance(error, apsw.Error) else error


def _translate(error: apsw.Error) -> MantaError:
    match error:
        case _ if isinstance(error, apsw.FullError) or _code(error) == apsw.SQLITE_IOERR_SHMSIZE:
            found: MantaError = InsufficientStorage("The catalog's disk is full: free space on it; reads go on.")
        case apsw.BusyError() | apsw.LockedError():
            found = ServiceUnavailable(
                "The catalog is locked by another process: only one gateway may use a SQLite catalog."
            )
        case _ if is_failed_sync(error):
            found = ServiceUnavailable(
                "The catalog's disk failed to sync: the gateway takes no writes until its restart."
            )
        case apsw.IOError():
            found = ServiceUnavailable(f"The catalog's disk failed: look at it if this comes again ({error}).")
        case apsw.CorruptError() | apsw.NotADBError():
            found = InternalError(f"The catalog could not be read: look at its disk and run `manta doctor` ({error}).")
        case _:
            found = InternalError(f"The catalog failed: {error}.")
    return found


def _code(error: apsw.Error) -> int:
    return int(getattr(error, "extendedresult", apsw.SQLITE_IOERR))
