"""The `x-amz-` headers a request may carry: none is silently ignored.

A header is either understood by the route's handler, or asks for what already is (a private ACL, the STANDARD class),
or the request is refused with 501.
"""

from collections.abc import Mapping

from manta.core.checksums import Algorithm
from manta.core.errors import NotImplementedHere

CHECKSUM_HEADERS = frozenset(algorithm.header for algorithm in Algorithm) | {
    "x-amz-sdk-checksum-algorithm",
    "x-amz-checksum-algorithm",  # MinIO's clients send it in place of the former
    "x-amz-trailer",
}
METADATA = "x-amz-meta-*"
"""In a Route's headers: user metadata is stored by this operation."""

_ALWAYS = frozenset(
    {
        "x-amz-content-sha256",
        "x-amz-date",
        "x-amz-decoded-content-length",
        "x-amz-expected-bucket-owner",
        "x-amz-user-agent",
    }
)
"""Read by the verifier, by `access.authorize`, or meant for logs."""

_AS_IT_IS: Mapping[str, frozenset[str]] = {
    "x-amz-api-version": frozenset({"2006-03-01"}),  # of S3, which has had no other since; sent by AWS's C++ SDK
    "x-amz-acl": frozenset({"private", "bucket-owner-full-control"}),
    "x-amz-storage-class": frozenset({"STANDARD"}),
    "x-amz-object-ownership": frozenset({"BucketOwnerEnforced"}),
    "x-amz-bucket-object-lock-enabled": frozenset({"false", "False"}),
    "x-amz-bypass-governance-retention": frozenset({"false", "False"}),
    "x-amz-tagging": frozenset({""}),
    "x-amz-tagging-directive": frozenset({"COPY"}),
    "x-amz-object-lock-legal-hold": frozenset({"OFF"}),
}
"""Values that ask for the state every bucket and object here has anyway."""


def check_headers(operation: str, understood: frozenset[str], headers: Mapping[str, str]) -> None:
    """NotImplementedHere for the first `x-amz-` header that would not be honoured."""
    for name, value in headers.items():
        if not name.startswith("x-amz-") or name in _ALWAYS or name in understood:
            continue
        if name.startswith("x-amz-meta-") and METADATA in understood:
            continue
        accepted = _AS_IT_IS.get(name)
        if accepted is None:
            raise NotImplementedHere(f"{operation} does not implement the header {name[:80]}.", Header=name[:80])
        if value.strip() not in accepted:
            raise NotImplementedHere(
                f"{operation} does not implement the value {value[:80]!r} of {name}.", Header=name[:80]
            )
