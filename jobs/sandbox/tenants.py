"""Which uid a tenant's zones have when the node runs as root: its own, far from any real user's."""

from hashlib import sha256
from typing import Final

UID_BASE: Final = 0x6D000000
UID_COUNT: Final = 1 << 24


class TenantUids:
    """Derived from the tenant's name, so that nodes of one machine agree; no two tenants of one node share it."""

    def __init__(self, base: int = UID_BASE, count: int = UID_COUNT) -> None:
        self._base = base
        self._count = count
        self._tenant_of: dict[int, str] = {}

    def uid(self, tenant: str) -> int:
        place = int.from_bytes(sha256(tenant.encode()).digest()[:8]) % self._count
        while self._tenant_of.setdefault(self._base + place, tenant) != tenant:
            place = (place + 1) % self._count
        return self._base + place
