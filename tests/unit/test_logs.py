"""What a process logs: what comes again and again is said once a minute, with how often it came."""

import logging

from manta.core.limits import LOG_REPEATS_REMEMBERED_MAX, LOG_SILENCE_S
from manta.core.logs import NoRepeats


class Log:
    """What a filter lets through."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.filter = NoRepeats(lambda: self.now_s)

    def say(self, message: str, *args: object) -> str | None:
        record = logging.LogRecord("manta.x", logging.WARNING, "", 0, message, args, None)
        return record.getMessage() if self.filter.filter(record) else None


def test_what_is_said_again_at_once_is_kept_back_and_counted() -> None:
    log = Log()
    assert log.say("Job %s fails", "a") == "Job a fails"
    assert log.say("Job %s fails", "b") == "Job b fails"
    for second in range(1, int(LOG_SILENCE_S)):
        log.now_s = float(second)
        assert log.say("Job %s fails", "a") is None
    log.now_s = LOG_SILENCE_S
    assert log.say("Job %s fails", "a") == "Job a fails (and 59 times before)"
    log.now_s = 2 * LOG_SILENCE_S
    assert log.say("Job %s fails", "a") == "Job a fails"


def test_words_with_a_percent_sign_are_said_as_they_are() -> None:
    log = Log()
    for now_s in (0.0, 1.0):
        log.now_s = now_s
        log.say("%s", "100 % done")
    log.now_s = LOG_SILENCE_S
    assert log.say("%s", "100 % done") == "100 % done (and 1 times before)"


def test_what_is_remembered_is_bounded() -> None:
    log = Log()
    for number in range(LOG_REPEATS_REMEMBERED_MAX + 1):
        assert log.say(f"{number}")
    assert log.say("0") == "0", "the oldest is forgotten"
    assert log.say(f"{LOG_REPEATS_REMEMBERED_MAX}") is None
