"""A new blob made of ranges of others: read here where they lie here, else from the peers that hold them.

Every byte read here is checked first, so the copy is made through memory rather than by copy_file_range: the check has
to read the bytes anyway.
"""

from collections.abc import Sequence

from manta.core.errors import AccessDenied, BlobDamaged, MantaError, NodeUnavailable, NoSuchBlob
from storage_nodes.api import Piece, Stored
from storage_nodes.client.node_client import PeerClient
from storage_nodes.disk.growing import GrowingFiles
from storage_nodes.disk.incoming import IncomingBlob
from storage_nodes.disk.volume import Volume
from storage_nodes.server.workers import Workers

_ELSEWHERE = (NoSuchBlob, BlobDamaged, NodeUnavailable, AccessDenied)
"""What makes another source worth trying."""


class Assembler:
    """Builds blobs from pieces on this node."""

    def __init__(self, volume: Volume, growing: GrowingFiles, workers: Workers) -> None:
        self._volume = volume
        self._growing = growing
        self._workers = workers

    async def assemble(self, blob_id: str, pieces: Sequence[Piece]) -> Stored:
        """Durable when it returns. The last source's error when a piece can be had nowhere."""
        size = sum(piece.size for piece in pieces)
        blob = await self._workers.run(lambda: self._volume.incoming(blob_id, size))
        try:
            for piece in pieces:
                await self._add(blob, piece)
        except BaseException:
            blob.abort()
            raise
        return await self._workers.run(lambda: self._volume.commit(blob))

    async def _add(self, blob: IncomingBlob, piece: Piece) -> None:
        before = blob.size
        failure: MantaError
        try:
            await self._workers.run(lambda: self._copy(blob, piece))
        except _ELSEWHERE as error:
            failure = error
        else:
            return
        for source in piece.sources:
            if source.node_id == self._volume.identity.node_id:
                continue
            peer = PeerClient(source)
            try:
                done = blob.size - before
                await self._fetch(blob, peer, piece, done)
            except _ELSEWHERE as error:
                failure = error
            else:
                return
            finally:
                await peer.close()
        raise failure

    def _copy(self, blob: IncomingBlob, piece: Piece) -> None:
        """From this volume. What is copied before damage is met stays; a peer goes on from there."""
        if piece.growing:
            for data in self._growing.read(piece.blob_id, piece.offset, piece.size):
                self._volume.write(blob, [data])
            return
        try:
            for data in self._volume.reader.blocks(piece.blob_id, piece.offset, piece.size):
                self._volume.write(blob, [data])
        except BlobDamaged:
            self._volume.quarantine(piece.blob_id)
            raise

    async def _fetch(self, blob: IncomingBlob, peer: PeerClient, piece: Piece, done: int) -> None:
        reader = await peer.open_get(piece.blob_id, piece.offset + done, piece.size - done, growing=piece.growing)
        try:
            while data := await reader.read():
                await self._workers.run(lambda chunk=data: self._volume.write(blob, [chunk]))  # type: ignore[misc]
        finally:
            await reader.close()
