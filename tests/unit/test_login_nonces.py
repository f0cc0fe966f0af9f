"""What is known again of sessions: no call twice, and no account in another's way."""

import pytest

from jobs.agent.login.nonces import Nonces
from manta.core.errors import AccessDenied, SlowDown
from manta.core.limits import LOGIN_ACCOUNT_NONCES_MAX, LOGIN_NONCES_MAX, NODE_TOKEN_TTL_S


@pytest.mark.invariant("S1")
def test_a_call_begins_one_session_as_long_as_its_token_is_good() -> None:
    nonces = Nonces()
    nonces.use("once", "alice", 0.0)
    for account_id in ("alice", "bob"):
        with pytest.raises(AccessDenied):
            nonces.use("once", account_id, NODE_TOKEN_TTL_S)
    nonces.use("once", "alice", NODE_TOKEN_TTL_S + 1)


@pytest.mark.invariant("J8")
def test_an_account_that_asks_without_end_keeps_nobody_else_out() -> None:
    nonces = Nonces()
    for number in range(LOGIN_ACCOUNT_NONCES_MAX):
        nonces.use(f"a{number}", "alice", 0.0)
    with pytest.raises(SlowDown, match="account"):
        nonces.use("more", "alice", 1.0)
    nonces.use("b", "bob", 1.0)
    nonces.use("more", "alice", NODE_TOKEN_TTL_S + 0.5)


@pytest.mark.invariant("S3")
def test_there_is_a_bound_for_all_accounts_together() -> None:
    nonces = Nonces()
    for number in range(LOGIN_NONCES_MAX):
        nonces.use(str(number), f"account{number % 1000}", 0.0)
    with pytest.raises(SlowDown, match="node"):
        nonces.use("more", "bob", 1.0)
