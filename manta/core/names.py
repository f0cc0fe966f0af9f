"""Names: what a bucket, a key and an id may be. No name ever becomes a path (S2), except ids checked here."""

import re
import secrets
from collections.abc import Callable

from manta.core.errors import InvalidArgument, InvalidBucketName, InvalidURI, KeyTooLong
from manta.core.limits import BUCKET_MAX_CHARS, BUCKET_MIN_CHARS, KEY_MAX_BYTES

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]*[a-z0-9]")
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
_ID = re.compile(r"[0-9a-f]{32}")
_JOB_ID = re.compile(r"[0-9a-f]{20}")
_NODE_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")

JOB_BUCKET_PREFIX = "job-"
RESERVED_PREFIXES = (JOB_BUCKET_PREFIX, "xn--", "sthree-")

Random = Callable[[int], str]
"""n → 2n random hexadecimal digits."""


def check_bucket(name: str) -> str:
    """`name` if S3's rules allow it, else `InvalidBucketName`.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
    """
    if not BUCKET_MIN_CHARS <= len(name) <= BUCKET_MAX_CHARS:
        raise InvalidBucketName(f"A bucket name has {BUCKET_MIN_CHARS} to {BUCKET_MAX_CHARS} characters: {name!r}.")
    if not _BUCKET.fullmatch(name) or ".." in name or _ADDRESS.fullmatch(name):
        raise InvalidBucketName(
            f"A bucket name has lower-case letters, digits, dots and hyphens, and is no IP address: {name!r}."
        )
    return name


def check_new_bucket(name: str) -> str:
    """Like `check_bucket`, and refuses the prefixes kept for the store itself."""
    if name.startswith(RESERVED_PREFIXES):
        raise InvalidBucketName(f"Bucket names that begin with {', '.join(RESERVED_PREFIXES)} are reserved: {name!r}.")
    return check_bucket(name)


def check_key(key: str) -> str:
    """`key` if it may name an object: 1 to 1024 bytes of UTF-8 without NUL."""
    if not key:
        raise InvalidURI("An object key has at least one character.")
    try:
        encoded = key.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidURI("An object key must be valid UTF-8.") from None
    if len(encoded) > KEY_MAX_BYTES:
        raise KeyTooLong
    if b"\0" in encoded:
        raise InvalidURI("An object key may not contain NUL.")
    return key


def new_id(now_ms: int, random_hex: Random = secrets.token_hex) -> str:
    """A blob, version or upload id: 12 hexadecimal digits of birth time in ms, 20 random ones."""
    return f"{now_ms:012x}{random_hex(10)}"


def new_job_id(now_ms: int, random_hex: Random = secrets.token_hex) -> str:
    """20 hexadecimal digits, 12 of them the birth time; `job-<id>` is a valid bucket name."""
    return f"{now_ms:012x}{random_hex(4)}"


def check_id(text: str) -> str:
    """A blob, version or upload id, before it is used in a path or a statement."""
    if not _ID.fullmatch(text):
        raise InvalidArgument(f"Not an id: {text[:40]!r}.")
    return text


def check_job_id(text: str) -> str:
    if not _JOB_ID.fullmatch(text):
        raise InvalidArgument(f"Not a job id: {text[:40]!r}.")
    return text


def check_node_id(text: str) -> str:
    if not _NODE_ID.fullmatch(text):
        raise InvalidArgument(f"A node id has lower-case letters, digits and hyphens: {text[:40]!r}.")
    return text


def birth_ms(identity: str) -> int:
    """When a blob, version, upload or job id was made, in ms since the epoch."""
    return int(identity[:12], 16)


def job_bucket(job_id: str) -> str:
    return JOB_BUCKET_PREFIX + job_id


def split_uri(uri: str) -> tuple[str, str]:
    """`s3://bucket/key` → (bucket, key); the key may be empty, a glob or a prefix."""
    scheme, _, rest = uri.partition("://")
    if scheme != "s3" or not rest:
        raise InvalidArgument(f"An object is written s3://bucket/key, not {uri!r}.")
    if not _is_utf8(uri):
        raise InvalidArgument(f"Keys are UTF-8, and this is not: {uri!r}.")
    bucket, _, key = rest.partition("/")
    return check_bucket(bucket), key


def _is_utf8(text: str) -> bool:
    """Not so where a file's name or an argument of the shell is not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
