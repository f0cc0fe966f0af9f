"""What a bounded cache holds: names with their sizes, who uses them, and which go first. Pure."""

from dataclasses import dataclass


@dataclass(slots=True)
class _Item:
    size: int
    holders: int


class Shelf:
    """At most `max_bytes`; what somebody holds stays, of the rest the longest unused goes first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._items: dict[str, _Item] = {}

    @property
    def used_bytes(self) -> int:
        return sum(item.size for item in self._items.values())

    def hold(self, name: str) -> bool:
        """Whether it is there; then it stays until it is released as often as it was held."""
        item = self._items.pop(name, None)
        if item is None:
            return False
        item.holders += 1
        self._items[name] = item
        return True

    def release(self, name: str) -> None:
        item = self._items.get(name)
        if item is not None and item.holders > 0:
            item.holders -= 1

    def put(self, name: str, size: int, *, held: bool = False) -> None:
        """One more, or another size of one that is there."""
        item = self._items.pop(name, _Item(0, 0))
        self._items[name] = _Item(size, item.holders + held)

    def remove(self, name: str) -> None:
        self._items.pop(name, None)

    def make_room(self, size: int) -> list[str] | None:
        """What goes for so many bytes more, taken off the shelf; None, with nothing taken, when that is not enough."""
        excess = self.used_bytes + size - self._max_bytes
        going: list[str] = []
        for name, item in self._items.items():
            if excess <= 0:
                break
            if item.holders == 0:
                going.append(name)
                excess -= item.size
        if excess > 0:
            return None
        for name in going:
            del self._items[name]
        return going
