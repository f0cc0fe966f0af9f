"""Post-mortems: what is kept of a child that died, before it is started again (promise O3)."""

import os
import signal
import time
from pathlib import Path

import msgspec

from manta.core.limits import EVIDENCE_FILES_MAX, EVIDENCE_TAIL_BYTES


class PostMortem(msgspec.Struct, frozen=True):
    """`log` ends with the stacks that faulthandler wrote, where the signal allowed that."""

    process: str
    pid: int
    died_at: str
    uptime_s: float
    cause: str
    log: str
    requests: str


def cause_of(return_code: int) -> str:
    """A return code of asyncio's in words."""
    if return_code < 0:
        return f"ended by {signal.Signals(-return_code).name}"
    return f"exited with status {return_code}"


def tail(path: Path, size: int = EVIDENCE_TAIL_BYTES) -> str:
    """The last `size` bytes of a log, or "" if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - size))
            return file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def keep(folder: Path, record: PostMortem) -> Path:
    """Write the record; of all records the newest EVIDENCE_FILES_MAX stay."""
    name = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{record.process}-{record.pid}.json"
    path = folder / name
    path.write_bytes(msgspec.json.format(msgspec.json.encode(record)))
    for old in sorted(folder.glob("*.json"))[:-EVIDENCE_FILES_MAX]:
        old.unlink(missing_ok=True)
    return path
