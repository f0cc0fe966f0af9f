"""How background work tells what failed, before it goes on with the next thing."""

import logging

from manta.core.errors import MantaError

_LOG = logging.getLogger("manta.scheduler")


def complain(error: Exception, what: str, *args: object) -> None:
    """What was foreseen in a line; what was not with its stack, since without the log it would be lost."""
    foreseen = isinstance(error, (MantaError, OSError))
    _LOG.warning(f"{what}: %s", *args, error, exc_info=None if foreseen else error)
