"""Access keys on the way to the verifier: remembered for a moment, so that a request costs no catalog read for its key.

A key that is removed here is forgotten at once; one that another gateway removed, within CREDENTIALS_CACHE_S.
"""

from manta.auth.verify import Credentials
from manta.catalog.store import AccountStore
from manta.core.clock import Clock
from manta.core.limits import CREDENTIALS_CACHE_MAX, CREDENTIALS_CACHE_S


class KeyRing:
    """`find` is what the verifier asks. Keys that do not exist are not remembered: nobody can fill the memory."""

    def __init__(self, catalog: AccountStore, clock: Clock) -> None:
        self._catalog = catalog
        self._clock = clock
        self._known: dict[str, tuple[Credentials, float]] = {}

    async def find(self, access_key: str) -> Credentials | None:
        now_s = self._clock.monotonic_s()
        known = self._known.get(access_key)
        if known is not None and now_s < known[1]:
            return known[0]
        found = await self._catalog.find_key(access_key)
        if found is None:
            self._known.pop(access_key, None)
            return None
        credentials = Credentials(found[0].access_key, found[0].secret_key, found[0].account_id)
        if len(self._known) >= CREDENTIALS_CACHE_MAX:
            self._known.clear()
        # The reading, not its end, is when it was true.
        self._known[access_key] = (credentials, now_s + CREDENTIALS_CACHE_S)
        return credentials

    def forget(self) -> None:
        """Accounts or keys were changed."""
        self._known.clear()
