"""Bodies of calls to a node, in msgpack, and how errors cross the wire."""

from typing import TypeVar

import msgspec

from manta.core import errors
from manta.core.errors import BadRequest, InternalError, MantaError
from storage_nodes.api import BlobInfo, NodeStatus, Piece, Stored

VERSION = 1


class PutBatch(msgspec.Struct, frozen=True):
    """Small blobs: (id, bytes)."""

    blobs: list[tuple[str, memoryview]]
    version: int = VERSION


class Refusal(msgspec.Struct, frozen=True):
    """An error of one call, or of one blob of a batch."""

    code: str
    message: str


class PutBatchReply(msgspec.Struct, frozen=True):
    """CRC-32C of the blob, or why it was refused, in the order of the batch."""

    results: list[int | Refusal]
    version: int = VERSION


class DeleteRequest(msgspec.Struct, frozen=True):
    blob_ids: list[str]
    version: int = VERSION


class AssembleRequest(msgspec.Struct, frozen=True):
    pieces: list[Piece]
    version: int = VERSION


class ListReply(msgspec.Struct, frozen=True):
    blobs: list[BlobInfo]
    version: int = VERSION


Message = (
    PutBatch | PutBatchReply | DeleteRequest | AssembleRequest | ListReply | Refusal | Stored | BlobInfo | NodeStatus
)
Kind = TypeVar("Kind", bound=msgspec.Struct)

_ENCODER = msgspec.msgpack.Encoder()
_CODES: dict[str, type[MantaError]] = {
    kind.code: kind
    for kind in (
        errors.InternalError,
        errors.BadRequest,
        errors.InvalidArgument,
        errors.IncompleteBody,
        errors.EntityTooLarge,
        errors.AccessDenied,
        errors.AlreadyExists,
        errors.Conflict,
        errors.InvalidRange,
        errors.NotImplementedHere,
        errors.ServiceUnavailable,
        errors.SlowDown,
        errors.SandboxUnavailable,
        errors.NodeUnavailable,
        errors.InsufficientStorage,
        errors.VolumeReadOnly,
        errors.NoSuchBlob,
        errors.BlobDamaged,
    )
}


def encode(message: Message) -> bytes:
    return _ENCODER.encode(message)


def decode(body: bytes, kind: type[Kind]) -> Kind:
    """The message; BadRequest if it is not one."""
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"The message is not a {kind.__name__}: {error}.") from None


def refusal(error: MantaError) -> Refusal:
    return Refusal(error.code, error.message)


def error_of(refused: Refusal) -> MantaError:
    """The error that the other side raised."""
    return _CODES.get(refused.code, InternalError)(refused.message)
