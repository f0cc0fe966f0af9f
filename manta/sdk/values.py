"""Python functions over objects: a lazy chain of them, and the job it becomes."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from manta.core.errors import InvalidArgument
from manta.sdk.failures import ended
from manta.sdk.packing import Function, Step, pack_map, pack_reduce
from manta.sdk.results import values_of

if TYPE_CHECKING:
    from manta.sdk.jobs import Job
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
