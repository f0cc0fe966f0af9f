"""Jobs side by side in one transaction: one of which something cannot be read keeps no node from the others (J4)."""

import logging
from typing import TypeVar

from manta.catalog.ops import Script
from manta.core.errors import MantaError

T = TypeVar("T")
_LOG = logging.getLogger("manta.catalog")


def apart(job_id: str, work: Script[T], otherwise: T) -> Script[T]:
    """The script of one job; `otherwise` when it raises what nobody foresaw, which the log tells.

    What it wrote before stays: a unit writes in its flush alone, but a lease moves tasks to other queues before that.
    What the engine raises is not seen here.
    """
    try:
        return (yield from work)
    except MantaError:
        raise
    except Exception:
        _LOG.exception("Job %s is left out of what a node asks for: it fails", job_id)
        return otherwise
