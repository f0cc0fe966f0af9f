"""Connections between two calls: which is used again, and which is closed."""

import socket

import pytest

from manta.core.limits import KEEPALIVE_S
from storage_nodes.client.connection import Connection
from storage_nodes.client.idle import IdleConnections


async def test_those_that_were_needed_once_do_not_stay_open_behind_the_one_in_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other side closes them after a while: each would hold a descriptor here for as long as the process lives."""
    pairs = [socket.socketpair() for _ in range(3)]
    idle, now_s = IdleConnections(), [0.0]
    monkeypatch.setattr(idle._loop, "time", lambda: now_s[0])
    for ours, _ in pairs:
        ours.setblocking(False)
        idle.keep(Connection(ours))
    for later_s in (KEEPALIVE_S / 3, KEEPALIVE_S * 2 / 3):
        now_s[0] = later_s
        connection = idle.take()
        assert connection is not None
        idle.keep(connection)
    assert [ours.fileno() < 0 for ours, _ in pairs] == [True, True, False]
    monkeypatch.undo()
    idle.close()
    for _, theirs in pairs:
        theirs.close()
