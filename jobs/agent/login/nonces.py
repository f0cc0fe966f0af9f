"""The nonces of a node's sessions: a call that was overheard begins no second session. Pure."""

import itertools
from collections import Counter

from manta.core.errors import AccessDenied, SlowDown
from manta.core.limits import LOGIN_ACCOUNT_NONCES_MAX, LOGIN_NONCES_MAX, NODE_TOKEN_TTL_S


class Nonces:
    """Each is known as long as the token that came with it is good. An account fills its own share, not the others'."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, str]] = {}
        """Nonce → until when it is known, and whose it is; in the order of their ends."""
        self._accounts: Counter[str] = Counter()

    def use(self, nonce: str, account_id: str, now_s: float) -> None:
        """AccessDenied for one that was used before; SlowDown when there are too many."""
        self._forget(now_s)
        if nonce in self._known:
            raise AccessDenied("This session was asked for before.")
        if self._accounts[account_id] >= LOGIN_ACCOUNT_NONCES_MAX:
            raise SlowDown(
                "The account asked this node for as many sessions as it may in a while: try again in a minute."
            )
        if len(self._known) >= LOGIN_NONCES_MAX:
            raise SlowDown("The node was asked for as many sessions as it can in a while: try again in a minute.")
        self._known[nonce] = now_s + NODE_TOKEN_TTL_S, account_id
        self._accounts[account_id] += 1

    def _forget(self, now_s: float) -> None:
        """The old ones."""
        ended = list(itertools.takewhile(lambda nonce: self._known[nonce][0] < now_s, self._known))
        for nonce in ended:
            _, account_id = self._known.pop(nonce)
            self._accounts[account_id] -= 1
        if ended:
            self._accounts += Counter()  # forgets accounts without any
