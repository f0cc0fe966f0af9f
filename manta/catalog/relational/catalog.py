"""The whole catalog over tables, on an engine: SQLite's or PostgreSQL's."""

from manta.catalog.relational.accounts import Accounts
from manta.catalog.relational.buckets import Buckets
from manta.catalog.relational.jobs import RelationalJobs
from manta.catalog.relational.nodes import Nodes
from manta.catalog.relational.objects import Objects
from manta.catalog.relational.shared import Shared
from manta.catalog.relational.uploads import Uploads


class RelationalCatalog(Accounts, Buckets, Objects, Uploads, Nodes):
    """Made with a `Shared`; closing it closes its engine."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self.jobs = RelationalJobs(shared)
