"""What a process of the store says of itself on stderr: when, how bad, by whom, and nothing again and again."""

import logging
import time
from collections.abc import Callable
from typing import Final

from manta.core.limits import LOG_REPEATS_REMEMBERED_MAX, LOG_SILENCE_S

_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class NoRepeats(logging.Filter):
    """Keeps back what was said within the last LOG_SILENCE_S; once that is over it is said with how often it came.

    A log is bounded: what fails each second, with its stack, would push everything else out of it.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._said: dict[str, tuple[float, int]] = {}
        """Message → when it was said last, and how often it came since."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = f"{record.levelname} {record.name}: {record.getMessage()}"
        now_s = self._monotonic()
        said_s, kept_back = self._said.get(message, (now_s - LOG_SILENCE_S, 0))
        if now_s - said_s < LOG_SILENCE_S:
            self._said[message] = said_s, kept_back + 1
            return False
        self._said.pop(message, None)
        self._said[message] = now_s, 0
        while len(self._said) > LOG_REPEATS_REMEMBERED_MAX:
            del self._said[next(iter(self._said))]
        if kept_back:
            record.msg, record.args = f"{record.getMessage()} (and {kept_back:,} times before)", ()
        return True


def log_to_stderr() -> None:
    """For a process's whole life; of libraries only what is a warning."""
    handler = logging.StreamHandler()
    handler.addFilter(NoRepeats())
    logging.basicConfig(level=logging.WARNING, format=_FORMAT, handlers=[handler])
    logging.getLogger("manta").setLevel(logging.INFO)
