"""Which catalog a benchmark's store stands on."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.postgres import server


@contextmanager
def catalog_options(*, postgres: bool) -> Iterator[list[str]]:
    """Options of `manta serve`: none for SQLite, or a PostgreSQL that is started for this run and syncs its commits."""
    if not postgres:
        yield []
        return
    with server(fsync=True) as running:
        yield ["--catalog", running.url()]
