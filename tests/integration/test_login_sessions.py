"""Sessions on a node, frame by frame: how they end, what they bound, and what they refuse."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from jobs.agent.login.session import Patience
from jobs.model.login import NODE_PATH, LoginEnd, encode_resize, encode_spec
from jobs.model.wire import TaskKind
from manta.core.errors import AccessDenied, BadRequest, SlowDown
from manta.core.limits import (
    LOGIN_ACCOUNT_SESSIONS_MAX,
    LOGIN_MESSAGE_MAX_BYTES,
    LOGIN_SESSIONS_MAX,
    LOGIN_SPEC_MAX_BYTES,
    MIB,
)
from manta.core.websocket import Kind, encode
from storage_nodes import token
from storage_nodes.client.connection import connect
from tests.support.login import CAPACITY, KEY, LoginNode, login_node, replace_spec
from tests.support.sandbox import sandbox_state

__all__ = ["sandbox_state"]

CALM = Patience()
SHORT_S = 0.3


@pytest_asyncio.fixture
async def node(tmp_path: Path, sandbox_state: Path) -> AsyncIterator[LoginNode]:
    async with login_node(tmp_path, sandbox_state, CALM) as node:
        yield node


async def test_a_shell_from_its_prompt_to_its_end(node: LoginNode) -> None:
    async with node.session(rows=10, columns=40) as client:
        await client.until(b"# ")
        await client.send(Kind.BINARY, b"cat $MANTA_INPUT_FILE; stty size\r")
        assert b"and the second\r\n10 40\r\n" in await client.until(b"10 40\r\n")
        await client.send(Kind.TEXT, encode_resize(20, 50))
        await client.send(Kind.BINARY, b"stty size; exit 4\r")
        await client.until(b"20 50\r\n")
        assert await client.end() == LoginEnd(4)
    await node.emptied()


async def test_all_of_the_output_comes_before_the_end(node: LoginNode) -> None:
    """Whoever reads late gets it all the same."""
    async with node.session(command="seq 200000", plain=True) as client:
        said = b""
        while (message := await client.receive()).kind is Kind.BINARY:
            said += message.data
    assert said == b"".join(b"%d\n" % number for number in range(1, 200001))


async def test_a_client_that_leaves_ends_the_session(node: LoginNode) -> None:
    async with node.session(command="trap '' HUP TERM; echo on; while :; do sleep 1; done") as client:
        await client.until(b"on")
    await node.emptied()


async def test_a_client_that_closes_hears_how_it_ended(node: LoginNode) -> None:
    async with node.session() as client:
        await client.until(b"# ")
        await client.send(Kind.CLOSE)
        assert (await client.end()).signal == 9
    await node.emptied()


@pytest.mark.invariant("S3")
async def test_s3_output_that_nobody_takes_waits_in_the_task(node: LoginNode) -> None:
    """`yes` stands still: what lies between it and the client is bounded."""
    async with node.session(command="yes") as client:
        await client.until(b"y")
        before = -1
        while (now := await _written(node)) != before:
            before = now
            await asyncio.sleep(0.3)
        assert 0 < now < 2 * MIB
    await node.emptied()


async def _written(_node: LoginNode) -> int:
    """What the `yes` below this process has written."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if entry.read_bytes() == b"yes\0":
                return int(entry.with_name("io").read_text().partition("wchar: ")[2].split()[0])
        except OSError:
            continue
    return 0


@pytest.mark.invariant("S3")
async def test_s3_input_that_nobody_takes_waits_at_the_client(node: LoginNode) -> None:
    async with node.session(command="stty raw -echo; echo set; sleep 1000") as client:
        await client.until(b"set")

        async def push() -> None:
            while True:
                await client.send(Kind.BINARY, bytes(LOGIN_MESSAGE_MAX_BYTES))
                sent.append(LOGIN_MESSAGE_MAX_BYTES)

        sent: list[int] = []
        pushing = asyncio.create_task(push())
        before = -1
        while len(sent) != before:
            before = len(sent)
            await asyncio.sleep(0.3)
        pushing.cancel()
        assert sum(sent) < 4 * MIB
    await node.emptied()


async def test_idleness_ends_a_session(tmp_path: Path, sandbox_state: Path) -> None:
    patience = Patience(idle_s=SHORT_S, ping_s=SHORT_S / 3)
    async with login_node(tmp_path, sandbox_state, patience) as node, node.session() as client:
        end = await client.end()
        assert "idle" in end.reason
        assert client.pings > 0


async def test_a_client_that_answers_no_ping_is_gone(tmp_path: Path, sandbox_state: Path) -> None:
    patience = Patience(ping_s=SHORT_S / 3, silence_s=SHORT_S)
    async with login_node(tmp_path, sandbox_state, patience) as node:
        async with node.session() as silent:
            assert (await silent.end(pong=False)).signal == 9
        async with node.session() as answering:
            while answering.pings < 8:
                waiting = asyncio.create_task(answering.receive())
                await asyncio.wait({waiting}, timeout=SHORT_S)
                if not waiting.done():
                    waiting.cancel()
            await answering.send(Kind.BINARY, b"exit\r")
            assert await answering.end() == LoginEnd(0)


async def test_time_ends_a_session(node: LoginNode) -> None:
    async with node.session(command="sleep 1000", timeout_s=SHORT_S) as client:
        assert "timeout of 0.3 s" in (await client.end()).reason


@pytest.mark.parametrize(
    "wire",
    [
        encode(Kind.BINARY, b"not masked"),
        encode(Kind.TEXT, b"no json", b"mask"),
        encode(Kind.BINARY, bytes(LOGIN_MESSAGE_MAX_BYTES + 1), b"mask"),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
async def test_a_client_that_breaks_the_protocol_is_told(node: LoginNode, wire: bytes) -> None:
    async with node.session() as client:
        await client.connection.send(wire)
        assert "WebSocket" in (end := await client.end()).reason or "message" in end.reason
    await node.emptied()


@pytest.mark.invariant("S3")
async def test_s3_what_is_no_description_is_refused(node: LoginNode) -> None:
    for first in (
        b"\0\0\0\x01x",
        (LOGIN_SPEC_MAX_BYTES + 1).to_bytes(4, "big"),
        b"\xff\xff\xff\xff",
    ):
        with pytest.raises(BadRequest):
            await node.client.upgrade(NODE_PATH, first, 30.0)
    with pytest.raises(BadRequest):
        await node.client.call("GET", NODE_PATH)
    with pytest.raises(BadRequest):
        async with node.session(inputs=()):
            pass
    await node.emptied()


@pytest.mark.invariant("S1")
async def test_s1_a_call_that_was_overheard_cannot_be_made_again(node: LoginNode) -> None:
    async with node.session(nonce="once") as client:
        await client.until(b"# ")
    with pytest.raises(AccessDenied, match="before"):
        async with node.session(nonce="once"):
            pass


@pytest.mark.invariant("S1")
async def test_s1_another_description_under_the_same_token_is_refused(node: LoginNode) -> None:
    first, other = encode_spec(replace_spec()), encode_spec(replace_spec(tenant="mallory"))
    connection = await connect(node.client.address.url, 5.0)
    headers = {"connection": "upgrade", "upgrade": "websocket"}
    headers[token.HEADER] = token.sign(KEY, "GET", NODE_PATH, time.time() + 60, first)
    await connection.send_head("GET", NODE_PATH, headers, other)
    assert (await connection.read_head()).status == 403
    connection.close()


@pytest.mark.invariant("S3")
async def test_s3_places_are_bounded_for_an_account_and_in_all(node: LoginNode) -> None:
    async with AsyncExitStack() as stack:
        for number in range(LOGIN_SESSIONS_MAX):
            tenant = f"account-{number // LOGIN_ACCOUNT_SESSIONS_MAX}"
            await stack.enter_async_context(node.session(tenant=tenant, memory_bytes=8 * MIB))
        with pytest.raises(SlowDown, match="end one of them"):
            await stack.enter_async_context(node.session(tenant="account-0", memory_bytes=8 * MIB))
        with pytest.raises(SlowDown, match="as many as it takes"):
            await stack.enter_async_context(node.session(tenant="another", memory_bytes=8 * MIB))
    await node.emptied()


async def test_the_memory_of_sessions_is_a_part_of_the_nodes(node: LoginNode) -> None:
    """A quarter at most; and what tasks have, sessions cannot have too, nor the other way round."""
    half = replace_spec(memory_bytes=CAPACITY.memory_bytes // 2)
    with pytest.raises(SlowDown, match="sessions may use 2048 MiB"):
        async with node.session(memory_bytes=CAPACITY.memory_bytes // 2):
            pass
    node.resources.take(half)
    assert node.resources.fits(half)
    async with node.session(memory_bytes=1024 * MIB) as client:
        await client.until(b"# ")
        assert not node.resources.fits(half)
        node.resources.take(replace_spec(memory_bytes=CAPACITY.memory_bytes * 3 // 8))
        with pytest.raises(SlowDown, match="tasks use all"):
            async with node.session():
                pass
    await node.emptied()


async def test_a_node_that_ends_takes_its_sessions_along(node: LoginNode) -> None:
    async with node.session(kind=TaskKind.REDUCE, inputs=()) as client:
        await client.until(b"# ")
        await node.sessions.close()
        assert node.sessions.status()["login_sessions"] == 0
        with pytest.raises(EOFError):
            await client.until(b"another word")
