"""Tokens that entrust one call to whoever holds them: an HMAC over method, target, expiry and a message's body. Pure.

A message that tells its receiver what to do (delete, assemble, a node's report) is covered with its body: who overhears
it can send it once more, which changes nothing, but not another one. Bytes of blobs are not covered: they are many, and
a blob that is there is never written again.

The token of a blob's GET or PUT names that blob and purpose alone (its path has no query), so a gateway may give it to
a peer. Nodes sign their calls to gateways with the same functions.
"""

import hashlib
import hmac

from manta.core.checksums import Buffer
from manta.core.errors import AccessDenied

HEADER = "x-manta-token"
_VERSION = "1"
_WITH_BODY = "2"


def sign(key: bytes, method: str, path_and_query: str, expires_s: float, body: Buffer | None = None) -> str:
    """A token for that one call, with that body alone if one is given, good until `expires_s` (since the epoch)."""
    expires = int(expires_s)
    if body is None:
        return f"{_VERSION}.{expires}.{_mac(key, method, path_and_query, expires)}"
    digest = hashlib.sha256(body).hexdigest()
    return f"{_WITH_BODY}.{expires}.{digest}.{_mac(key, method, path_and_query, expires, digest)}"


def verify(key: bytes, method: str, path_and_query: str, token: str, now_s: float) -> bool:
    """Whether `token` allows that call at `now_s`. Compares in constant time; whatever is odd is refused.

    A body that it covers is known only later: `check_body`.
    """
    version, _, rest = token.partition(".")
    digits, _, mac = rest.partition(".")
    digest, _, mac = mac.rpartition(".")
    if (
        version != (_WITH_BODY if digest else _VERSION)
        or not digest.isascii()
        or not (digits.isascii() and digits.isdigit() and len(digits) <= 12)
    ):
        return False
    expires = int(digits)
    good = hmac.compare_digest(
        mac.encode("utf-8", "replace"), _mac(key, method, path_and_query, expires, digest).encode()
    )
    return good and now_s < expires


def check_body(token: str, body: Buffer) -> None:
    """AccessDenied unless the token, verified before, covers just that body."""
    version, *rest = token.split(".")
    digest = rest[1] if version == _WITH_BODY and len(rest) == 3 else ""
    if not hmac.compare_digest(digest.encode("utf-8", "replace"), hashlib.sha256(body).hexdigest().encode()):
        raise AccessDenied("The call's token does not cover its body.")


def blob_path(blob_id: str) -> str:
    """The target of a blob's GET and PUT, as a peer's token names it."""
    return f"/blobs/{blob_id}"


def _mac(key: bytes, method: str, path_and_query: str, expires: int, digest: str = "") -> str:
    text = f"{method}\n{path_and_query}\n{expires}" + (f"\n{digest}" if digest else "")
    message = text.encode("utf-8", "surrogateescape")
    return hmac.digest(key, message, "sha256").hex()
