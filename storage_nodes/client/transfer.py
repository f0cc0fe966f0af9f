"""One blob on its way over one connection: taken for it alone, and given back once."""

from manta.core.errors import InternalError
from storage_nodes.client.connection import Connection
from storage_nodes.client.transport import Transport


class Transfer:
    """What uploads and downloads have in common."""

    def __init__(self, transport: Transport, connection: Connection) -> None:
        self._transport = transport
        self._connection: Connection | None = connection

    def _open(self) -> Connection:
        if self._connection is None:
            raise InternalError("A blob was written to after its end.")
        return self._connection

    def _release(self, *, reusable: bool) -> None:
        if self._connection is not None:
            self._transport.give_back(self._connection, reusable=reusable)
            self._connection = None
