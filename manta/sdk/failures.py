"""What a client raises when a job did not do what was asked."""

from manta.core.errors import MantaError


class JobFailedError(MantaError):
    """The job ended with errors; the first of them is in the message."""

    code = "JobFailed"
    status = 500
