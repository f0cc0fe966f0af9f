"""A terminal that was closed under a command: every call on it fails with EIO, and nobody sees what is written."""

import errno
import termios


def is_closed(descriptor: int) -> bool:
    """Whether that is such a terminal."""
    try:
        termios.tcgetattr(descriptor)
    except termios.error as error:
        return said_by_closed(error)
    return False


def said_by_closed(error: Exception) -> bool:
    """Whether a closed terminal may have said so. A disk that fails says it, too."""
    return isinstance(error, OSError | termios.error) and error.args[:1] == (errno.EIO,)
