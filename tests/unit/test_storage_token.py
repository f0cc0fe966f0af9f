"""Tokens of node calls: what was signed is allowed until it expires, and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manta.core.errors import AccessDenied
from storage_nodes.token import blob_path, check_body, sign, verify

KEY = b"k" * 32
NOW = 1_700_000_000.0
methods = st.sampled_from(["GET", "PUT", "POST", "HEAD"])
targets = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40).map(lambda text: "/" + text)


@given(methods, targets)
def test_what_was_signed_is_allowed(method: str, target: str) -> None:
    assert verify(KEY, method, target, sign(KEY, method, target, NOW + 10), NOW)


@pytest.mark.invariant("S1")
@given(methods, targets, methods, targets)
def test_s1_a_token_allows_no_other_call(method: str, target: str, other_method: str, other_target: str) -> None:
    token = sign(KEY, method, target, NOW + 10)
    same = (method, target) == (other_method, other_target)
    assert verify(KEY, other_method, other_target, token, NOW) == same


@pytest.mark.invariant("S1")
def test_s1_expired_and_foreign_keys_are_refused() -> None:
    target = blob_path("0" * 32)
    token = sign(KEY, "GET", target, NOW)
    assert not verify(KEY, "GET", target, token, NOW)
    assert not verify(b"x" * 32, "GET", target, token, NOW - 1)
    assert verify(KEY, "GET", target, token, NOW - 1)


@pytest.mark.invariant("S1")
@given(methods, targets, st.binary(max_size=40), st.binary(max_size=40))
def test_s1_a_token_for_a_message_allows_no_other_body(method: str, target: str, body: bytes, other: bytes) -> None:
    token = sign(KEY, method, target, NOW + 10, body)
    assert verify(KEY, method, target, token, NOW)
    check_body(token, body)
    if other != body:
        with pytest.raises(AccessDenied):
            check_body(token, other)
        swapped = ".".join([*token.split(".")[:2], sign(b"x", "", "", 0, other).split(".")[2], token.split(".")[3]])
        assert not verify(KEY, method, target, swapped, NOW)
    with pytest.raises(AccessDenied):
        check_body(sign(KEY, method, target, NOW + 10), body)


@pytest.mark.invariant("S1")
@given(st.text(max_size=120))
def test_s1_garbage_is_refused(token: str) -> None:
    assert not verify(KEY, "GET", "/status", token, NOW)


@given(st.integers(0, 90), st.characters())
def test_a_changed_token_is_refused(position: int, character: str) -> None:
    token = sign(KEY, "GET", "/status", NOW + 10)
    changed = token[:position] + character + token[position + 1 :]
    assert verify(KEY, "GET", "/status", changed, NOW) == (changed == token)
