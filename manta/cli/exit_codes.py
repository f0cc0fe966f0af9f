"""What the shell is told: one number per kind of end."""

from manta.core.errors import AccessDenied, InvalidArgument, InvalidBucketName, MantaError, NotFound, PreconditionFailed

FAILED = 1
USAGE = 2
TASK_ERRORS = 3
CANCELLED = 4
WAIT_TIMED_OUT = 5
NOT_FOUND = 6
DENIED = 7
PRECONDITION_FAILED = 8
INTERRUPTED = 130


def exit_code(error: MantaError) -> int:
    """The number for an error that ended a command."""
    if isinstance(error, NotFound):
        return NOT_FOUND
    if isinstance(error, AccessDenied):
        return DENIED
    if isinstance(error, PreconditionFailed):
        return PRECONDITION_FAILED
    if isinstance(error, InvalidArgument | InvalidBucketName) and "code" not in error.details:
        # Refused on this side; what the store refused carries the store's code.
        return USAGE
    return FAILED
