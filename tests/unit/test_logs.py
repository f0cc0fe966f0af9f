"""What a process logs: what comes again and again is said once a minute, with how often it came."""

import logging
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from threading import Thread

import pytest

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

    def fail(self, failing: Callable[[], object]) -> bool:
        """Whether a failure is told with its stack, always in the same words."""
        try:
            failing()
        except Exception as error:
            raised = (type(error), error, error.__traceback__)
            return self.filter.filter(logging.LogRecord("manta.x", logging.ERROR, "", 0, "It failed", (), raised))
        raise AssertionError("it is to fail")


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


def test_another_failure_in_the_same_words_is_another_thing() -> None:
    def divide() -> float:
        return 1 / 0

    log = Log()
    assert log.fail(divide)
    assert not log.fail(divide)
    assert log.fail(lambda: 1 / 0), "elsewhere"
    assert log.fail(lambda: [][0]), "of another kind"


class Unspeakable:
    def __str__(self) -> str:
        raise AttributeError("it has no name yet")


@pytest.mark.parametrize(
    ("words", "arguments"), [("%d", ("many",)), ("%(name)s", ({"age": 1},)), ("%s", (Unspeakable(),))]
)
def test_words_that_do_not_fit_are_left_to_the_handler_which_tells_of_it(
    words: str, arguments: tuple[object, ...]
) -> None:
    record = logging.LogRecord("a.library", logging.WARNING, "", 0, words, arguments, None)
    assert NoRepeats(lambda: 0.0).filter(record)


def test_threads_may_log_at_the_same_time_and_a_thing_is_said_once() -> None:
    things = [f"{number:02}" for number in range(100)]

    def say_all(log: Log) -> list[str | None]:
        return [log.say(thing) for thing in things]

    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            for _ in range(30):
                said = [one for told in pool.map(say_all, 4 * [Log()]) for one in told if one is not None]
                assert sorted(said) == things
    finally:
        sys.setswitchinterval(interval_s)


def test_what_logs_as_it_is_collected_while_another_thing_is_logged_does_not_wait_for_it() -> None:
    """As asyncio's tasks do whose failure nobody asked for; a collection may begin wherever memory is asked for."""
    now_s = count()
    log = Log()

    def collecting() -> float:
        if (now := next(now_s)) == 0:
            said.append(log.say("a task failed"))
        return now

    said: list[str | None] = []
    log.filter = NoRepeats(collecting)
    thread = Thread(target=lambda: said.append(log.say("all is well")), daemon=True)
    thread.start()
    thread.join(30)
    assert said == ["a task failed", "all is well"]
