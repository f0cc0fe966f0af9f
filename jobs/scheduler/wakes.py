"""Who waits for what: nodes for tasks, clients for a job to move. Hints only: a sweep each second covers lost ones."""

import asyncio
from collections.abc import Iterable


class Wakes:
    """Events by name. A waiter takes one before it looks, so that nothing is missed between looking and waiting."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def enter(self, name: str) -> asyncio.Event:
        event = asyncio.Event()
        self._waiting.setdefault(name, set()).add(event)
        return event

    def leave(self, name: str, event: asyncio.Event) -> None:
        events = self._waiting.get(name, set())
        events.discard(event)
        if not events:
            self._waiting.pop(name, None)

    def wake(self, names: Iterable[str]) -> None:
        for name in names:
            for event in self._waiting.get(name, ()):
                event.set()

    def wake_all(self) -> None:
        self.wake(list(self._waiting))

    def woken(self) -> list[str]:
        """Those that have not looked since they were woken."""
        return [name for name, events in self._waiting.items() if any(event.is_set() for event in events)]


async def wait_for(event: asyncio.Event, timeout_s: float) -> bool:
    """Whether the event came within that time."""
    if event.is_set():
        return True
    if timeout_s <= 0:
        return False
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
