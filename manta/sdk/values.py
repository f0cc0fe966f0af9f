"""Python functions over objects: a lazy chain of them, the job it becomes, and the values that come back."""

import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from jobs.model.program import RAISED
from jobs.model.values import PICKLE, decode, frames
from manta.core.errors import InvalidArgument
from manta.sdk.failures import JobFailedError
from manta.sdk.packing import Function, Step, pack_map, pack_reduce

if TYPE_CHECKING:
    from manta.sdk.jobs import Job, Line
    from manta.sdk.store import Store

_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class _Fold:
    function: Function
    count: int
    options: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Values:
    """What functions make of objects. Nothing is run before values, or a job, are asked for; each asking is a job."""

    _store: "Store"
    _inputs: tuple[str, ...]
    _steps: tuple[Step, ...]
    _options: Mapping[str, object]
    _fold: _Fold | None = None

    def map(self, function: Callable[[Any], Any]) -> "Values":
        """`function` of each value, in the same task."""
        return self._with(Step("map", function))

    def filter(self, function: Callable[[Any], Any]) -> "Values":
        """Only the values for which `function` is true."""
        return self._with(Step("filter", function))

    def flat_map(self, function: Callable[[Any], Any]) -> "Values":
        """Each of the values that `function` gives; it may be a generator."""
        return self._with(Step("flat_map", function))

    def reduce(self, function: Callable[[Any, Any], Any], *, count: int = 1, **options: object) -> "Values":
        """One value: `function` of two, over all of them, in no promised order and grouping.

        So it has to be associative and commutative. With `count` so many tasks fold shares, and one folds theirs.
        """
        if self._fold is not None:
            raise InvalidArgument("These values are reduced to one already.")
        return replace(self, _fold=_Fold(function, count, options))

    def phases(self) -> list[dict[str, object]]:
        """The phases of the job, for a job document."""
        fold = self._fold
        program = pack_map(self._steps, fold.function if fold is not None else None)
        phases: list[dict[str, object]] = [{"type": "map", "program": program, **self._options}]
        if fold is not None:
            folding = {"type": "reduce", "program": pack_reduce(fold.function), **fold.options}
            phases += [{**folding, "count": fold.count}] if fold.count > 1 else []
            phases.append({**folding, "count": 1})
        return phases

    def submit(self, *, name: str | None = None, output: str | None = None, max_errors: int | None = None) -> "Job":
        """The job, which has begun."""
        properties = {"name": name, "output": output, "max_errors": max_errors}
        return self._store.submit(self.phases(), inputs=self._inputs, properties=properties)

    def run(self, **properties: Any) -> "Job":
        """The job once it has ended; JobFailedError with the first failure, if there was one."""
        return ended(self.submit(**properties))

    def results(self, *, unpickle: bool = True) -> Iterator[Any]:
        """Each value, as it is read: never all in memory. In no promised order. JobFailedError."""
        return values_of(self._store, self.run(), unpickle=unpickle)

    def collect(self, *, unpickle: bool = True) -> list[Any]:
        """All values in a list."""
        return list(self.results(unpickle=unpickle))

    def result(self, default: Any = _ABSENT, *, unpickle: bool = True) -> Any:
        """The one value that `reduce` made; `default`, or InvalidArgument, if there were none to reduce."""
        if self._fold is None:
            raise InvalidArgument("There is one result for each value: reduce them, or ask for results() or collect().")
        for value in self.results(unpickle=unpickle):
            return value
        if default is _ABSENT:
            raise InvalidArgument("There were no values to reduce: no object matched, or all were filtered out.")
        return default

    def _with(self, step: Step) -> "Values":
        if self._fold is not None:
            raise InvalidArgument("These values are reduced to one: map before you reduce.")
        return replace(self, _steps=(*self._steps, step))


def values_of(store: "Store", job: "Job", *, unpickle: bool = True) -> Iterator[Any]:
    """The values that a job of Python functions made. What is no plain JSON value is unpickled, here.

    A pickle can run code as it is read, and what wrote it is a task that may have been fed by strangers: with
    `unpickle` false such a value is refused with InvalidArgument.
    """
    for line in job.outputs():
        with store.reader(f"s3://{line['bucket']}/{line['key']}") as read:
            try:
                for kind, payload in frames(read):
                    if kind == PICKLE and not unpickle:
                        raise InvalidArgument(f"A value of job {job.id} is a pickle, which you chose not to unpickle.")
                    yield decode(kind, payload, pickle.loads)
            except ValueError as error:
                raise InvalidArgument(f"The output {line['key']} of job {job.id} has no values: {error}.") from error


def ended(job: "Job") -> "Job":
    """The job once it has ended. JobFailedError tells the first failure in one piece, and how many there are."""
    status = job.wait()
    for line in job.errors():
        raise JobFailedError(_told(line, status.errors, job.id))
    if status.state == "cancelled":
        raise JobFailedError(f"Job {job.id} was cancelled: {status.cancel_reason or 'by its owner'}.")
    return job


def _told(line: "Line", failures: int, job_id: str) -> str:
    """Which input, why, and the traceback, or what a command said; what a function printed is left out."""
    where = f"s3://{line['input']}" if line.get("input") else f"The reducer of phase {line['phase']}"
    _, marked, said = str(line.get("stderr") or "").rstrip().rpartition(f"{RAISED}\n")
    reason = said.rpartition("\n")[2] if marked else f"{line['code']}: {line['message']}"
    more = f"\n{failures - 1:,} more failed: `manta job errors {job_id}`." if failures > 1 else ""
    return f"{where}: {reason}" + (f"\n\n{said}" if said else "") + more
