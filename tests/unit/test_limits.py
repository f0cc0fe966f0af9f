"""Limits that must fit each other."""

import pytest

from jobs.agent.uplink.gateways import ANSWER_S
from manta.core.limits import (
    ASSEMBLY_TOKEN_TTL_S,
    HEARTBEAT_S,
    LEASE_POLL_S,
    LEASE_S,
    ORPHAN_GRACE_S,
    PUT_MAX_BYTES,
)
from storage_nodes.client.node_client import ASSEMBLE_TIMEOUT_S

SLOW_BYTES_PER_S = 125_000
"""1 Mbit/s."""


@pytest.mark.invariant("D9")
def test_d9_the_grace_lets_the_longest_writes_end_before_their_commit_is_refused() -> None:
    commit_within_s = ORPHAN_GRACE_S / 2
    assert commit_within_s > PUT_MAX_BYTES / SLOW_BYTES_PER_S
    assert commit_within_s > ASSEMBLE_TIMEOUT_S
    assert ASSEMBLE_TIMEOUT_S < ASSEMBLY_TOKEN_TTL_S


@pytest.mark.invariant("J6")
def test_j6_what_the_longest_poll_grants_outlives_the_next_answer() -> None:
    """A node counts its leases from when it asked; it hears more by the next poll, which waits for two heartbeats."""
    assert LEASE_POLL_S + 2 * HEARTBEAT_S + ANSWER_S < LEASE_S
