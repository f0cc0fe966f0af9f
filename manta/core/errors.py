"""Every error a user can meet: its code, its HTTP status, and whether trying again helps.

One root, one small class per code. Foreign errors (OSError, apsw, asyncpg, aiohttp) are translated into these once,
where they enter. Codes are S3's where S3 has one:
https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

from typing import ClassVar


class MantaError(Exception):
    """One sentence for the user: what happened, to what, and what to do. `details` go beside it in the reply."""

    code: ClassVar[str] = "InternalError"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    default: ClassVar[str] = "We encountered an internal error; please try again."

    def __init__(self, message: str | None = None, **details: str) -> None:
        self.message = message or self.default
        self.details = details
        super().__init__(self.message)


class InternalError(MantaError):
    retryable = True


class BadRequest(MantaError):
    """Root of what the client must change before it tries again."""

    code = "InvalidRequest"
    status = 400
    default = "The request is not valid."


class InvalidArgument(BadRequest):
    code = "InvalidArgument"
    default = "An argument of the request is not valid."


class InvalidBucketName(BadRequest):
    code = "InvalidBucketName"
    default = "The specified bucket is not valid."


class InvalidURI(BadRequest):
    code = "InvalidURI"
    default = "The request's path could not be read."


class KeyTooLong(BadRequest):
    code = "KeyTooLongError"
    default = "The key is longer than 1024 bytes."


class InvalidDigest(BadRequest):
    code = "InvalidDigest"
    default = "The Content-MD5 or checksum value is not valid."


class BadDigest(BadRequest):
    code = "BadDigest"
    default = "The Content-MD5 or checksum value did not match what was received."


class ContentSHA256Mismatch(BadRequest):
    code = "XAmzContentSHA256Mismatch"
    default = "The provided x-amz-content-sha256 does not match what was received."


class IncompleteBody(BadRequest):
    code = "IncompleteBody"
    default = "The body is shorter than its declared length."


class MalformedXML(BadRequest):
    code = "MalformedXML"
    default = "The XML of the request is not well formed or does not fit the schema."


class MalformedTrailer(BadRequest):
    code = "MalformedTrailerError"
    default = "The trailer of the body is not well formed."


class InvalidPart(BadRequest):
    code = "InvalidPart"
    default = "One or more of the specified parts could not be found, or its entity tag does not match."


class InvalidPartOrder(BadRequest):
    code = "InvalidPartOrder"
    default = "The list of parts is not in ascending order."


class EntityTooSmall(BadRequest):
    code = "EntityTooSmall"
    default = "A part other than the last is smaller than 5 MiB."


class EntityTooLarge(BadRequest):
    code = "EntityTooLarge"
    default = "The upload exceeds the largest allowed size."


class MetadataTooLarge(BadRequest):
    code = "MetadataTooLarge"
    default = "The metadata headers exceed 2 KiB."


class AuthorizationHeaderMalformed(BadRequest):
    code = "AuthorizationHeaderMalformed"
    default = "The authorization header is not well formed."


class AuthorizationQueryParametersError(BadRequest):
    code = "AuthorizationQueryParametersError"
    default = "The query parameters of the presigned URL are not valid."


class InvalidToken(BadRequest):
    code = "InvalidToken"
    default = "Session tokens are not supported here: use a permanent access key without x-amz-security-token."


class MissingContentLength(BadRequest):
    code = "MissingContentLength"
    status = 411
    default = "A Content-Length header is needed."


class UpgradeRequired(BadRequest):
    code = "UpgradeRequired"
    status = 426
    default = "This call is a WebSocket: ask for it with an upgrade (RFC 6455), as `manta login` does."


class AccessDenied(MantaError):
    code = "AccessDenied"
    status = 403
    default = "Access denied."


class MalformedPolicy(BadRequest):
    code = "MalformedPolicy"
    default = "The policy cannot be understood."


class InvalidAccessKeyId(AccessDenied):
    code = "InvalidAccessKeyId"
    default = "The access key id does not exist here."


class SignatureDoesNotMatch(AccessDenied):
    code = "SignatureDoesNotMatch"
    default = "The signature does not match: check the secret key and the signing method."


class RequestTimeTooSkewed(AccessDenied):
    code = "RequestTimeTooSkewed"
    default = "The difference between the request time and the server's time is too large: check the clock."


class NotFound(MantaError):
    code = "NoSuchKey"
    status = 404
    default = "The specified thing does not exist."


class NoSuchBucket(NotFound):
    code = "NoSuchBucket"
    default = "The specified bucket does not exist."


class NoSuchBucketPolicy(NotFound):
    code = "NoSuchBucketPolicy"
    default = "The bucket policy does not exist."


class NoSuchKey(NotFound):
    code = "NoSuchKey"
    default = "The specified key does not exist."


class NoSuchVersion(NotFound):
    code = "NoSuchVersion"
    default = "The specified version does not exist."


class NoSuchUpload(NotFound):
    code = "NoSuchUpload"
    default = "The specified upload does not exist; it may have been completed or aborted."


class NoSuchJob(NotFound):
    code = "NoSuchJob"
    default = "The specified job does not exist."


class NoSuchAccount(NotFound):
    code = "NoSuchAccount"
    default = "The specified account does not exist."


class MethodNotAllowed(MantaError):
    code = "MethodNotAllowed"
    status = 405
    default = "The method is not allowed on this resource."


class Conflict(MantaError):
    """Root of what clashes with the present state."""

    code = "OperationAborted"
    status = 409
    default = "A conflicting operation is in progress; please try again."


class BucketAlreadyExists(Conflict):
    code = "BucketAlreadyExists"
    default = "The bucket name is taken by another account."


class BucketAlreadyOwnedByYou(Conflict):
    code = "BucketAlreadyOwnedByYou"
    default = "You already own this bucket."


class BucketNotEmpty(Conflict):
    code = "BucketNotEmpty"
    default = "The bucket is not empty: delete its objects and open uploads first."


class IdempotencyKeyReused(MantaError):
    code = "IdempotencyKeyReused"
    status = 422
    default = "The Idempotency-Key was used for another request."


class JobClosed(Conflict):
    code = "JobClosed"
    default = "The job takes no more inputs: it has ended or its input was ended."


class JobNotRetried(Conflict):
    code = "JobNotRetried"
    default = "Only a job that is done can be retried."


class AlreadyExists(Conflict):
    code = "AlreadyExists"
    default = "A thing of that name exists already."


class StaleAttempt(Conflict):
    """The lease was lost; another attempt holds the task (J2)."""

    code = "StaleAttempt"
    default = "The attempt's lease was lost: its outputs are discarded."


class PreconditionFailed(MantaError):
    code = "PreconditionFailed"
    status = 412
    default = "At least one of the preconditions did not hold."


class NotModified(MantaError):
    code = "NotModified"
    status = 304
    default = "Not modified."


class InvalidRange(MantaError):
    code = "InvalidRange"
    status = 416
    default = "The requested range lies outside the object."


class NotImplementedHere(MantaError):
    code = "NotImplemented"
    status = 501
    default = "This store does not implement that."


class SlowDown(MantaError):
    code = "SlowDown"
    status = 503
    retryable = True
    default = "Please slow down and try again."


class TooManyStreams(SlowDown):
    """Somebody else, or the client itself, has to end a stream: asking again soon does not help."""

    code = "TooManyStreams"
    retryable = False
    default = "Too many streams are served now: end some of them."


class ServiceUnavailable(MantaError):
    code = "ServiceUnavailable"
    status = 503
    retryable = True
    default = "The service is unavailable now; please try again."


class NotEnoughNodes(ServiceUnavailable):
    default = "Too few storage nodes answer to keep the wanted number of copies; please try again."


class NodeUnavailable(ServiceUnavailable):
    """A storage node does not answer, or answered nonsense. Another copy may serve."""

    code = "NodeUnavailable"
    default = "A storage node does not answer."


class InsufficientStorage(MantaError):
    """A volume has reached its reserve (D6). The gateway tries another node, then answers 503 SlowDown."""

    code = "InsufficientStorage"
    status = 507
    retryable = True
    default = "The volume is full: free space on it; reads and deletes go on."


class VolumeReadOnly(MantaError):
    """An fsync failed once: nothing on this volume is acknowledged any more (D5)."""

    code = "VolumeReadOnly"
    status = 503
    retryable = True
    default = "The node stopped taking writes after a failed fsync: replace its disk, then restart it."


class NoSuchBlob(NotFound):
    code = "NoSuchBlob"
    default = "The node does not hold that blob."


class BlobDamaged(MantaError):
    """The copy's bytes do not match its checksums; it was quarantined (D4)."""

    code = "BlobDamaged"
    status = 500
    retryable = True
    default = "This copy is damaged and was put in quarantine; read another."


class SandboxUnavailable(MantaError):
    """No sandbox can be built here, so no task is run: there is no unsandboxed mode."""

    code = "SandboxUnavailable"
    status = 503
    default = "No sandbox can be built on this node: run `manta doctor`."
