"""Objects from the client's side: a lazy selection of them, and what can be done with it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from jobs.model.globs import compile_glob, literal_prefix
from manta.core.names import split_uri
from manta.sdk.failures import ended
from manta.sdk.packing import Step
from manta.sdk.values import Values

if TYPE_CHECKING:
    from manta.sdk.jobs import Job
    from manta.sdk.store import Store


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object as LIST or HEAD tell it; `etag` without quotes."""

    bucket: str
    key: str
    size: int
    etag: str
    modified: datetime

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True, slots=True)
class Selection:
    """What an `s3://bucket/key`, prefix or glob selects. `pattern` is None for a single key or a plain prefix."""

    bucket: str
    prefix: str
    pattern: str | None

    @classmethod
    def parse(cls, uri: str) -> "Selection":
        """A key that ends in `/`, or is empty, is a prefix; one with `*`, `?` or `[` is a glob, as in jobs."""
        bucket, key = split_uri(uri)
        prefix = literal_prefix(key)
        return cls(bucket, prefix, None if prefix == key else key)

    @property
    def is_single(self) -> bool:
        return self.pattern is None and bool(self.prefix) and not self.prefix.endswith("/")

    def matches(self, key: str) -> bool:
        return self.pattern is None or compile_glob(self.pattern).matches(key)


class Objects:
    """A lazy selection of objects. Nothing is asked of the store before it is iterated or a job is made of it."""

    def __init__(self, store: "Store", uris: tuple[str, ...]) -> None:
        self._store = store
        self._uris = uris

    def __iter__(self) -> Iterator[ObjectInfo]:
        for uri in self._uris:
            yield from self._store.list_objects(uri)

    def map(self, function: Callable[[Any], Any], **options: object) -> Values:
        """`function` of each object, run where it lies; `options` are properties of the phase (memory="1G", batch=20).

        It is given the object as a local file: `text() bytes() lines() open() path bucket key name size`.
        """
        return self._values(Step("map", function), options)

    def filter(self, function: Callable[[Any], Any], **options: object) -> Values:
        """The objects for which `function` is true, for a function that is mapped over them."""
        return self._values(Step("filter", function), options)

    def flat_map(self, function: Callable[[Any], Any], **options: object) -> Values:
        """Each of the values that `function` makes of an object; it may be a generator."""
        return self._values(Step("flat_map", function), options)

    def _values(self, step: Step, options: Mapping[str, object]) -> Values:
        return Values(self._store, self._uris, (step,), options)

    def sh(self, command: str, *, reduce: str | None = None, count: int = 1, name: str | None = None) -> "ShellJob":
        """Run `command` on each object where it lies; `reduce` on all that came out of it."""
        phases: list[dict[str, object]] = [{"type": "map", "exec": command}]
        if reduce is not None:
            phases.append({"type": "reduce", "exec": reduce, "count": count})
        return ShellJob(self._store, self._store.submit(phases, inputs=self._uris, properties={"name": name}))


class ShellJob:
    """A submitted job whose outputs are wanted."""

    def __init__(self, store: "Store", job: "Job") -> None:
        self._store = store
        self.job = job

    def outputs(self) -> Iterator[bytes]:
        """Each final output, once the job has ended; JobFailedError with the first error, if there was one."""
        for line in ended(self.job).outputs():
            yield self._store.read(f"s3://{line['bucket']}/{line['key']}")

    def bytes(self) -> bytes:
        return b"".join(self.outputs())

    def text(self) -> str:
        return self.bytes().decode("utf-8")
