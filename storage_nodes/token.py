"""Tokens that entrust one call to whoever holds them: an HMAC over method, target and expiry. Pure.

The token of a blob's GET or PUT names that blob and purpose alone (its path has no query), so a gateway may give it to
a peer. Nodes sign their calls to gateways with the same functions.
"""

import hmac

HEADER = "x-manta-token"
_VERSION = "1"


def sign(key: bytes, method: str, path_and_query: str, expires_s: float) -> str:
    """A token for that one call, good until `expires_s` (seconds since the epoch)."""
    expires = int(expires_s)
    return f"{_VERSION}.{expires}.{_mac(key, method, path_and_query, expires)}"


def verify(key: bytes, method: str, path_and_query: str, token: str, now_s: float) -> bool:
    """Whether `token` allows that call at `now_s`. Compares in constant time; whatever is odd is refused."""
    version, _, rest = token.partition(".")
    digits, _, mac = rest.partition(".")
    if version != _VERSION or not (digits.isascii() and digits.isdigit() and len(digits) <= 12):
        return False
    expires = int(digits)
    good = hmac.compare_digest(mac.encode("utf-8", "replace"), _mac(key, method, path_and_query, expires).encode())
    return good and now_s < expires


def blob_path(blob_id: str) -> str:
    """The target of a blob's GET and PUT, as a peer's token names it."""
    return f"/blobs/{blob_id}"


def _mac(key: bytes, method: str, path_and_query: str, expires: int) -> str:
    message = f"{method}\n{path_and_query}\n{expires}".encode("utf-8", "surrogateescape")
    return hmac.digest(key, message, "sha256").hex()
