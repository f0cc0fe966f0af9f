"""Bucket policies: what is taken lets others read just that, anything else is refused with S3's codes."""

import json
from typing import Any

import pytest

from manta.auth.bucket_policy import parse_policy
from manta.auth.policy import Action, Principal, Resource, allows
from manta.core.errors import MalformedPolicy, NotImplementedHere
from manta.core.limits import POLICY_MAX_BYTES

BOB, EVE, ROOT = Principal("bob"), Principal("eve"), Principal("root", is_root=True)
READ_ALL = {
    "Effect": "Allow",
    "Principal": {"AWS": ["bob"]},
    "Action": ["s3:GetObject", "s3:ListBucket"],
    "Resource": ["arn:aws:s3:::books", "arn:aws:s3:::books/*"],
}


def policy(*statements: dict[str, Any], **more: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements), **more})


def can(who: Principal, action: Action, text: str, key: str = "") -> bool:
    return allows(who, action, Resource("alice", bucket="books", policy=text, key=key))


@pytest.mark.invariant("S1")
@pytest.mark.parametrize("action", Action)
def test_a_policy_lets_the_named_read_and_nobody_do_more(action: Action) -> None:
    text = policy(READ_ALL)
    assert can(BOB, action, text, "moby.txt") is (action in (Action.GET, Action.LIST))
    assert not can(EVE, action, text, "moby.txt")
    assert not can(Principal(""), action, text, "moby.txt")
    assert can(ROOT, action, text, "moby.txt")
    assert can(EVE, action, policy({**READ_ALL, "Principal": "*"}), "x") is (action in (Action.GET, Action.LIST))


def test_keys_are_shared_by_name_or_by_how_they_begin() -> None:
    objects = ["arn:aws:s3:::books/open/*", "arn:aws:s3:::books/a b.txt"]
    text = policy({**READ_ALL, "Action": "s3:GetObject", "Resource": objects})
    assert [can(BOB, Action.GET, text, key) for key in ("open/x", "a b.txt", "open", "opened", "a b.txt2")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert not can(BOB, Action.LIST, text)
    listed = policy({**READ_ALL, "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::books"})
    assert can(BOB, Action.LIST, listed)
    assert not can(BOB, Action.GET, listed, "open/x")


def test_an_account_may_be_written_as_an_arn() -> None:
    assert can(BOB, Action.LIST, policy({**READ_ALL, "Principal": {"AWS": "arn:aws:iam::bob:root"}}))


def test_a_stored_policy_of_another_bucket_or_a_broken_one_allows_nothing() -> None:
    other = READ_ALL | {"Resource": ["arn:aws:s3:::films", "arn:aws:s3:::films/*"]}
    for text in (policy(other), "{", policy({**READ_ALL, "Effect": "Deny"})):
        assert not can(BOB, Action.GET, text, "x")
        assert not can(BOB, Action.LIST, text)


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        ("{", MalformedPolicy, "not JSON"),
        ("[]", MalformedPolicy, "JSON object"),
        (policy(), MalformedPolicy, "statements"),
        (policy(READ_ALL, Version="2020-01-01"), MalformedPolicy, "Version"),
        (policy(READ_ALL, Statments=1), MalformedPolicy, "Statments"),
        (policy({**READ_ALL, "Effect": "Deny"}), NotImplementedHere, "Deny"),
        (policy({**READ_ALL, "Effect": "allow"}), MalformedPolicy, "Effect"),
        (policy({**READ_ALL, "Condition": {}}), NotImplementedHere, "Condition"),
        (policy({**READ_ALL, "NotPrincipal": "*"}), NotImplementedHere, "NotPrincipal"),
        (policy({**READ_ALL, "Principal": "bob"}), MalformedPolicy, "Principal"),
        (policy({**READ_ALL, "Principal": {"Service": "x"}}), MalformedPolicy, "Principal"),
        (policy({**READ_ALL, "Principal": {"AWS": "arn:aws:iam::bob:user/x"}}), MalformedPolicy, "principal"),
        (policy({**READ_ALL, "Principal": {"AWS": ["b*"]}}), MalformedPolicy, "principal"),
        (policy({**READ_ALL, "Action": "s3:PutObject"}), NotImplementedHere, "s3:PutObject"),
        (policy({**READ_ALL, "Action": "s3:*"}), NotImplementedHere, "s3:*"),
        (policy({**READ_ALL, "Action": []}), MalformedPolicy, "Action"),
        (policy({**READ_ALL, "Resource": "arn:aws:s3:::books"}), MalformedPolicy, "does not apply"),
        (policy({**READ_ALL, "Resource": ["arn:aws:s3:::books", "arn:aws:s3:::films/*"]}), MalformedPolicy, "films"),
        (policy({**READ_ALL, "Resource": "*"}), MalformedPolicy, "resource"),
        (
            policy({**READ_ALL, "Resource": ["arn:aws:s3:::books", "arn:aws:s3:::books/*.txt"]}),
            NotImplementedHere,
            "end",
        ),
        (policy({**READ_ALL, "Sid": 5}), MalformedPolicy, "Sid"),
        (
            policy(READ_ALL).replace('"Effect"', '"Principal": "*", "Effect"', 1),
            MalformedPolicy,
            "`Principal` comes twice",
        ),
        (policy(READ_ALL).replace("{", '{"Statement": [], ', 1), MalformedPolicy, "`Statement` comes twice"),
        (policy(READ_ALL).replace('"AWS"', '"AWS": "*", "AWS"', 1), MalformedPolicy, "`AWS` comes twice"),
        (policy({**READ_ALL, "Sid": "@"}).replace('"@"', "9" * 5000), MalformedPolicy, "JSON"),
        (policy(READ_ALL, Id="x" * POLICY_MAX_BYTES), MalformedPolicy, "bytes"),
    ],
)
def test_what_is_not_done_here_is_refused(text: str, error: type[Exception], told: str) -> None:
    with pytest.raises(error) as refused:
        parse_policy(text.encode(), "books")
    assert told in str(refused.value)
