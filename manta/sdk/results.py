"""The values that a job of Python functions made, read from its outputs and unpacked on the client."""

import contextlib
import io
import pickle
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final

from jobs.model.values import PICKLE, decode, frames
from manta.core.errors import InvalidArgument

if TYPE_CHECKING:
    from manta.sdk.following import Line
    from manta.sdk.jobs import Job
    from manta.sdk.store import Store

_SMALL_BYTES: Final = 1 << 20
_AT_ONCE: Final = 8
_AHEAD: Final = 16
_Read = Callable[[int], bytes]


def values_of(store: "Store", job: "Job", *, unpickle: bool = True) -> Generator[Any, None, None]:
    """The values that a job of Python functions made. What is no plain JSON value is unpickled, here.

    A pickle can run code as it is read, and what wrote it is a task that may have been fed by strangers: with
    `unpickle` false such a value is refused with InvalidArgument.
    """
    with contextlib.closing(_opened(store, job.outputs())) as outputs:
        for line, opened in outputs:
            with opened as read:
                try:
                    for kind, payload in frames(read):
                        yield _value(kind, payload, job.id, unpickle=unpickle)
                except ValueError as error:
                    raise InvalidArgument(
                        f"The output {line['key']} of job {job.id} has no values: {error}."
                    ) from error


def _value(kind: bytes, payload: bytes, job_id: str, *, unpickle: bool) -> Any:
    if kind == PICKLE and not unpickle:
        raise InvalidArgument(f"A value of job {job_id} is a pickle, which may run code: it is not to be unpickled.")
    return decode(kind, payload, pickle.loads)


def _opened(
    store: "Store", outputs: Iterable["Line"]
) -> Generator[tuple["Line", AbstractContextManager[_Read]], None, None]:
    """Each output and its reader. Small ones are fetched ahead, several at a time; large ones are read as they come."""
    with contextlib.closing(_Ahead(store)) as ahead:
        waiting: deque[tuple[Line, AbstractContextManager[_Read]]] = deque()
        for line in outputs:
            waiting.append((line, ahead.open(f"s3://{line['bucket']}/{line['key']}", line["size"])))
            if len(waiting) > _AHEAD:
                yield waiting.popleft()
        yield from waiting


class _Ahead:
    def __init__(self, store: "Store") -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(_AT_ONCE, "manta-values")

    def open(self, uri: str, size_bytes: int) -> AbstractContextManager[_Read]:
        return (
            self._fetched(self._pool.submit(self._store.read, uri))
            if size_bytes <= _SMALL_BYTES
            else self._store.reader(uri)
        )

    @staticmethod
    @contextlib.contextmanager
    def _fetched(content: Future[bytes]) -> Iterator[_Read]:
        yield io.BytesIO(content.result()).read

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
