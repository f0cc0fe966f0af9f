"""What a process of the store says of itself on stderr: when, how bad, by whom, and nothing again and again."""

import logging
import threading
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
        """Message, and where its failure was raised → when it was said last, and how often it came since."""
        self._lock = threading.RLock()
        """A handler has none yet when it asks its filters, and any thread may log; so may what is collected as garbage
        meanwhile, as a task does whose failure nobody asked for."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            message = f"{record.levelname} {record.name}: {record.getMessage()}{_raised(record)}"
        except Exception:  # its arguments do not fit: the handler tells of it, and nobody fails for a log
            return True
        with self._lock:
            return self._is_due(record, message)

    def _is_due(self, record: logging.LogRecord, message: str) -> bool:
        now_s = self._monotonic()
        said_s, kept_back = self._said.get(message, (now_s - LOG_SILENCE_S, 0))
        if now_s - said_s < LOG_SILENCE_S:
            self._said[message] = said_s, kept_back + 1
            return False
        self._said.pop(message, None)
        self._said[message] = now_s, 0
        for oldest in [*self._said][:-LOG_REPEATS_REMEMBERED_MAX]:
            self._said.pop(oldest, None)
        if kept_back:
            record.msg, record.args = f"{record.getMessage()} (and {kept_back:,} times before)", ()
        return True


def _raised(record: logging.LogRecord) -> str:
    """What failures in the same words are told apart by: their kind, and the line that raised them."""
    if record.exc_info is None or record.exc_info[0] is None:
        return ""
    kind, _, trace = record.exc_info
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
    return f" {kind.__qualname__}{place}"


def log_to_stderr() -> None:
    """For a process's whole life; of libraries only what is a warning."""
    handler = logging.StreamHandler()
    handler.addFilter(NoRepeats())
    logging.basicConfig(level=logging.WARNING, format=_FORMAT, handlers=[handler])
    logging.getLogger("manta").setLevel(logging.INFO)
