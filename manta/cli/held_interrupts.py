"""Ctrl-C while something is made whose name would be lost with it."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def held_interrupts() -> Iterator[Callable[[], None]]:
    """Holds a first Ctrl-C back until what this yields is called, or to the end; a second one is raised at once."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # ignored, as a script's background jobs have it
        yield lambda: None
        return
    pressed = False

    def note(_number: int, _frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    def release() -> None:
        nonlocal pressed
        signal.signal(signal.SIGINT, before)
        if pressed:
            pressed = False
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, note)
    try:
        yield release
        release()
    finally:
        signal.signal(signal.SIGINT, before)
