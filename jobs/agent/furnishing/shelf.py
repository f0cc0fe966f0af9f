"""What a bounded cache holds: names with their sizes, which accounts use them, and which go first. Pure."""

from collections import Counter
from dataclasses import dataclass, field

from manta.core.errors import SlowDown
from manta.core.limits import CACHE_ACCOUNT_FRACTION, CACHE_LEFT_FACTOR, MIB


class OverShareError(SlowDown):
    """An account's tasks and sessions would use more of a cache than their share.

    `lasting`: whatever else of the account's ends.
    """

    def __init__(self, used_bytes: int, more_bytes: int, share_bytes: int, *, lasting: bool) -> None:
        what = "Assets, images and a session's objects of one account may take"
        super().__init__(
            f"{what} {_mib(share_bytes)} of this node's cache at a time, and these take {_mib(more_bytes)}: use "
            "fewer, or smaller ones."
            if lasting
            else f"{what} {_mib(share_bytes)} of this node's cache, less while others use it; yours take "
            f"{_mib(used_bytes)} now, and {_mib(more_bytes)} more are too much: run fewer jobs side by side that bring "
            "different ones."
        )
        self.lasting = lasting


@dataclass(slots=True)
class _Item:
    size: int
    holders: Counter[str] = field(default_factory=Counter)


class Shelf:
    """At most `max_bytes`; what somebody holds stays, of the rest the longest unused goes first.

    An account holds at most CACHE_ACCOUNT_FRACTION of it, and at most CACHE_LEFT_FACTOR times what is left that nobody
    holds: so there is room for the next account, however many there are. What several accounts hold counts for each.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._items: dict[str, _Item] = {}

    @property
    def used_bytes(self) -> int:
        return sum(item.size for item in self._items.values())

    @property
    def share_bytes(self) -> int:
        """The most that one account may hold, when no other holds anything."""
        return int(self._max_bytes * CACHE_ACCOUNT_FRACTION)

    def held_bytes(self, account: str | None = None) -> int:
        """By that account, or by any."""
        return sum(
            item.size for item in self._items.values() if (item.holders if account is None else item.holders[account])
        )

    def allowance(self, account: str) -> int:
        """How many bytes more the account may hold, of what nobody holds yet."""
        own, left = self.held_bytes(account), self._max_bytes - self.held_bytes()
        return max(0, min(self.share_bytes - own, (CACHE_LEFT_FACTOR * left - own) // (CACHE_LEFT_FACTOR + 1)))

    def require_possible(self, size_bytes: int) -> None:
        """OverShareError for what no account may ever hold at a time."""
        if size_bytes > self.share_bytes:
            raise self._over_share("", size_bytes)

    def require_share(self, account: str, more_bytes: int) -> None:
        """OverShareError unless the account may hold so many bytes more, of what nobody holds yet."""
        if more_bytes > self.allowance(account):
            raise self._over_share(account, more_bytes)

    def is_held(self, name: str) -> bool:
        item = self._items.get(name)
        return item is not None and bool(item.holders)

    def hold(self, name: str, account: str) -> bool:
        """Whether it is there; then it stays until the account released it as often as it held it. OverShareError."""
        item = self._items.get(name)
        if item is None:
            return False
        self._require_share_of(item, account)
        del self._items[name]
        item.holders[account] += 1
        self._items[name] = item
        return True

    def release(self, name: str, account: str) -> None:
        item = self._items.get(name)
        if item is not None and item.holders[account] > 0:
            item.holders[account] -= 1
            item.holders += Counter()  # forgets accounts that hold it no more

    def put(self, name: str, size: int, holder: str | None = None) -> None:
        """One more, or another size of one that is there; held by that account, which has the share for it."""
        item = self._items.pop(name, None) or _Item(size)
        item.size = size
        if holder is not None:
            item.holders[holder] += 1
        self._items[name] = item

    def remove(self, name: str) -> None:
        self._items.pop(name, None)

    def make_room(self, size: int) -> list[str] | None:
        """What goes for so many bytes more, taken off the shelf; None, with nothing taken, when that is not enough."""
        excess = self.used_bytes + size - self._max_bytes
        if excess > self.used_bytes - self.held_bytes():
            return None
        return [name for name, _ in self.spare(excess)]

    def spare(self, size: int) -> list[tuple[str, int]]:
        """What nobody holds, taken off the shelf until it is so many bytes, if there are: names with their sizes."""
        going: list[tuple[str, int]] = []
        for name, item in self._items.items():
            if size <= 0:
                break
            if not item.holders:
                going.append((name, item.size))
                size -= item.size
        for name, _ in going:
            del self._items[name]
        return going

    def _require_share_of(self, item: _Item, account: str) -> None:
        if item.holders[account]:
            return
        if not item.holders:
            self.require_share(account, item.size)
        else:
            left = self._max_bytes - self.held_bytes()
            if self.held_bytes(account) + item.size > min(self.share_bytes, CACHE_LEFT_FACTOR * left):
                raise self._over_share(account, item.size)

    def _over_share(self, account: str, more_bytes: int) -> OverShareError:
        lasting = more_bytes > self.share_bytes
        return OverShareError(self.held_bytes(account), more_bytes, self.share_bytes, lasting=lasting)


def _mib(size: int) -> str:
    return f"{-(-size // MIB)} MiB"
