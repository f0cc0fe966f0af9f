"""Bucket policies: the part of S3's language that lets other accounts read, checked whole when it is put. Pure.

A statement allows accounts `s3:GetObject`, `s3:ListBucket` or both, on the bucket or on keys that begin alike. What
else the language has (Deny, conditions, other actions, more wildcards) is refused: a policy never means less than it
says.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-policy-language-overview.html
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import msgspec

from manta.core.errors import MalformedPolicy, NotImplementedHere
from manta.core.json_once import NameTwiceError, decode_once
from manta.core.limits import POLICY_MAX_BYTES, POLICY_STATEMENTS_MAX

GET_OBJECT: Final = "s3:GetObject"
LIST_BUCKET: Final = "s3:ListBucket"
EVERYONE: Final = "*"
_VERSIONS: Final = ("2012-10-17", "2008-10-17")
_DOCUMENT: Final = ("Version", "Id", "Statement")
_STATEMENT: Final = ("Sid", "Effect", "Principal", "Action", "Resource")
_LATER: Final = ("NotPrincipal", "NotAction", "NotResource", "Condition")
_ARN: Final = "arn:aws:s3:::"
_ACCOUNT_ARN: Final = re.compile(r"arn:aws:iam::([^:*]+):root")


class Grant(msgspec.Struct, frozen=True):
    """What one statement allows. `accounts` may hold EVERYONE; keys begin with one of `prefixes`, or are in `keys`."""

    accounts: frozenset[str]
    lists: bool
    prefixes: tuple[str, ...] = ()
    keys: frozenset[str] = frozenset()

    def is_for(self, account_id: str) -> bool:
        return EVERYONE in self.accounts or account_id in self.accounts

    def covers(self, key: str) -> bool:
        return key in self.keys or key.startswith(self.prefixes)


Grants = tuple[Grant, ...]


def parse_policy(text: bytes, bucket: str) -> Grants:
    """MalformedPolicy for what is no policy of that bucket, NotImplementedHere for more than is done here."""
    if len(text) > POLICY_MAX_BYTES:
        raise MalformedPolicy(f"A bucket policy has at most {POLICY_MAX_BYTES} bytes.")
    document = _decode(text)
    if not isinstance(document, Mapping):
        raise MalformedPolicy("A policy is a JSON object with `Statement`.")
    _check_names(document, _DOCUMENT, "a policy")
    if document.get("Version", _VERSIONS[0]) not in _VERSIONS:
        raise MalformedPolicy(f"The policy's Version must be {_VERSIONS[0]}.")
    statements = document.get("Statement")
    statements = [statements] if isinstance(statements, Mapping) else statements
    if not isinstance(statements, list) or not 1 <= len(statements) <= POLICY_STATEMENTS_MAX:
        raise MalformedPolicy(f"A policy has 1 to {POLICY_STATEMENTS_MAX} statements.")
    return tuple(_grant(statement, bucket) for statement in statements)


@lru_cache(maxsize=512)
def stored_grants(policy: str, bucket: str) -> Grants:
    """Of a policy that was checked when it was put; nothing, should this version not understand it."""
    try:
        return parse_policy(policy.encode(), bucket)
    except (MalformedPolicy, NotImplementedHere):
        return ()


def _decode(text: bytes) -> object:
    """A policy must not mean another thing here than to whoever wrote or checked it."""
    try:
        return decode_once(text)
    except NameTwiceError as error:
        raise MalformedPolicy(f"In the policy {error}.") from None
    except (ValueError, RecursionError) as error:
        raise MalformedPolicy(f"The policy is not JSON: {error}.") from None


def _grant(statement: object, bucket: str) -> Grant:
    if not isinstance(statement, Mapping):
        raise MalformedPolicy("A statement is a JSON object.")
    _check_names(statement, _STATEMENT, "a statement")
    if not isinstance(statement.get("Sid", ""), str):
        raise MalformedPolicy("A statement's Sid is a text.")
    effect = statement.get("Effect")
    if effect == "Deny":
        raise NotImplementedHere("Deny statements are not implemented: buckets are closed but for what is allowed.")
    if effect != "Allow":
        raise MalformedPolicy("A statement's Effect is Allow.")
    accounts = frozenset(_account(one) for one in _principals(statement.get("Principal")))
    actions = set(_texts(statement.get("Action"), "Action"))
    if unknown := actions - {GET_OBJECT, LIST_BUCKET}:
        raise NotImplementedHere(
            f"The action {min(unknown)[:80]!r} is not implemented: use {GET_OBJECT}, {LIST_BUCKET}."
        )
    return _with_resources(accounts, actions, _texts(statement.get("Resource"), "Resource"), bucket)


def _with_resources(accounts: frozenset[str], actions: set[str], resources: list[str], bucket: str) -> Grant:
    names = [_resource(one, bucket) for one in resources]
    on_objects = [name for name in names if name is not None]
    on_bucket = len(on_objects) < len(names)
    if (LIST_BUCKET in actions) != on_bucket or (GET_OBJECT in actions) != bool(on_objects):
        where = f"{LIST_BUCKET} is of {_ARN}{bucket}, {GET_OBJECT} of {_ARN}{bucket}/*"
        raise MalformedPolicy(f"Action does not apply to any resource: {where}.")
    if any("*" in name[:-1] or "?" in name for name in on_objects):
        raise NotImplementedHere("A * may stand at the end of a Resource only.")
    prefixes = tuple(name[:-1] for name in on_objects if name.endswith("*"))
    return Grant(accounts, on_bucket, prefixes, frozenset(name for name in on_objects if not name.endswith("*")))


def _resource(arn: str, bucket: str) -> str | None:
    """The key, or its beginning and `*`; None for the bucket itself."""
    name, slash, key = arn.removeprefix(_ARN).partition("/")
    if not arn.startswith(_ARN) or name != bucket or (slash and not key):
        raise MalformedPolicy(f"Policy has invalid resource: {arn[:200]!r} is not of the bucket {bucket}.")
    return key if slash else None


def _principals(value: object) -> list[str]:
    if isinstance(value, Mapping):
        if set(value) != {"AWS"}:
            raise MalformedPolicy('A Principal is "*" or {"AWS": accounts}.')
        return _texts(value["AWS"], "Principal")
    if value != EVERYONE:
        raise MalformedPolicy('A Principal is "*" or {"AWS": accounts}.')
    return [EVERYONE]


def _account(principal: str) -> str:
    found = _ACCOUNT_ARN.fullmatch(principal)
    name = found[1] if found else principal
    if name != EVERYONE and (not name or "*" in name or ":" in name):
        raise MalformedPolicy(f"Invalid principal in policy: {principal[:200]!r} is no account.")
    return name


def _texts(value: object, what: str) -> list[str]:
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not found or not all(isinstance(one, str) for one in found):
        raise MalformedPolicy(f"A statement's {what} is a text or a list of texts.")
    return found


def _check_names(given: Mapping[object, object], known: tuple[str, ...], what: str) -> None:
    for name in given:
        if name in _LATER:
            raise NotImplementedHere(f"`{name}` of a policy is not implemented: leave it out.")
        if name not in known:
            raise MalformedPolicy(f"`{str(name)[:80]}` is no element of {what}: known are {', '.join(known)}.")
