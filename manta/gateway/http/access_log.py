"""The access log: one JSON line a request, bounded in size (O2), written by a thread, without secrets (S7)."""

import asyncio
import logging
import threading
from pathlib import Path

import msgspec

from manta.core.errands import give_up
from manta.core.limits import ACCESS_LOG_BUFFER_MAX, ACCESS_LOG_FIELD_MAX_CHARS, ACCESS_LOG_FILES, ACCESS_LOG_MAX_BYTES

FLUSH_INTERVAL_S = 0.5
SECRET_PARAMETERS = frozenset(
    {"x-amz-signature", "x-amz-security-token", "x-amz-credential", "signature", "awsaccesskeyid"}
)

_log = logging.getLogger(__name__)


class Entry(msgspec.Struct, frozen=True, gc=False):
    """`time` is seconds since the epoch, `duration_ms` from the request's head to the reply's last byte handed over."""

    time: float
    id: str
    peer: str
    account: str
    method: str
    path: str
    query: str
    operation: str
    status: int
    error: str
    bytes_in: int
    bytes_out: int
    duration_ms: float
    agent: str


def printable(text: str) -> str:
    """`text` as the log can hold it: cut off, bytes that were no UTF-8 written as escapes."""
    text = text[:ACCESS_LOG_FIELD_MAX_CHARS]
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def redact_query(raw_query: str) -> str:
    """The query as sent, with the values of presigned URLs' signatures and credentials taken out."""
    if "=" not in raw_query:
        return raw_query
    return "&".join([_redact(pair) for pair in raw_query.split("&")])


def _redact(pair: str) -> str:
    name = pair.partition("=")[0]
    plain = name.lower() if "%" not in name else ""
    return f"{name}=REDACTED" if not plain or plain in SECRET_PARAMETERS else pair


class RotatingFile:
    """`name`, then `name.1` … the oldest is removed. Used by one thread at a time."""

    def __init__(self, path: Path, max_bytes: int = ACCESS_LOG_MAX_BYTES, files: int = ACCESS_LOG_FILES) -> None:
        self._path = path
        self._max_bytes = max_bytes // files
        self._files = files
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)

    def write(self, data: bytes) -> None:
        if self._file.tell() and self._file.tell() + len(data) > self._max_bytes:
            self._rotate()
        self._file.write(data)

    def _rotate(self) -> None:
        self._file.close()
        for number in range(self._files - 1, 0, -1):
            older = self._path if number == 1 else self._path.with_name(f"{self._path.name}.{number - 1}")
            if older.exists():
                older.rename(self._path.with_name(f"{self._path.name}.{number}"))
        self._file = self._path.open("ab", buffering=0)

    def close(self) -> None:
        self._file.close()


class AccessLog:
    """Entries are kept in memory and written twice a second; `None` for the path keeps nothing."""

    def __init__(self, path: Path | None) -> None:
        self._file = RotatingFile(path) if path is not None else None
        self._waiting: list[Entry] = []
        self._lock = threading.Lock()
        self._encoder = msgspec.json.Encoder()
        self._task: asyncio.Task[None] | None = None
        self.dropped = 0

    @property
    def enabled(self) -> bool:
        return self._file is not None

    def add(self, entry: Entry) -> None:
        if len(self._waiting) < ACCESS_LOG_BUFFER_MAX:
            self._waiting.append(entry)
        else:
            self.dropped += 1

    def start(self) -> None:
        if self._file is not None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="access-log")

    async def close(self) -> None:
        if self._task is not None:
            await give_up([self._task])
        if self._file is not None:
            self._flush()
            self._file.close()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_INTERVAL_S)
            if self._waiting:
                await asyncio.to_thread(self._flush)

    def _flush(self) -> None:
        """A full disk costs log lines, never requests."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
            try:
                if waiting and self._file is not None:
                    self._file.write(self._encoder.encode_lines(waiting))
            except OSError as error:
                self.dropped += len(waiting)
                _log.warning("The access log cannot be written: %s.", error.strerror)
