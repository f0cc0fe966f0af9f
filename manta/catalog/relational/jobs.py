"""Jobs, in tables: the scripts of `job_scripts`, with what they ask of objects and blobs spelt out in statements."""

import json
from collections.abc import Callable
from typing import TypeVar

from manta.catalog.job_scripts.store import ScriptedJobs
from manta.catalog.ops import Op, Script
from manta.catalog.relational.job_statements import JobStatements
from manta.catalog.relational.shared import Shared

T = TypeVar("T")


class RelationalJobs(ScriptedJobs):
    """`job_store.JobStore` over the engine of `shared`."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared.clock)
        self._shared = shared

    async def write(self, make: Callable[[], Script[T]]) -> T:
        return await self._shared.engine.change(lambda: self._spell_out(make()))

    async def read(self, make: Callable[[], Script[T]]) -> T:
        return await self._shared.engine.look(lambda: self._spell_out(make()))

    def _spell_out(self, script: Script[T]) -> Script[T]:
        """The same script in statements of the engine. Lists travel as JSON: one statement for any number."""
        catalog = JobStatements(self._shared)
        try:
            request = next(script)
            while True:
                spelt = getattr(catalog, request.name, None)
                if spelt is None:
                    if isinstance(request, Op):
                        request.args = tuple(
                            json.dumps(value) if isinstance(value, list) else value for value in request.args
                        )
                    rows = yield request
                elif isinstance(request, Op):
                    rows = yield from spelt(*request.args)
                else:
                    rows = yield from spelt(request.rows)
                request = script.send(rows)
        except StopIteration as end:
            yield from catalog.settle()
            value: T = end.value
            return value
