"""A node's login sessions alone: the real sandbox and server, and a client that speaks frame by frame."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec
from aiohttp import web

from jobs.agent.furnishing.object_cache import ObjectCache
from jobs.agent.login.session import Patience
from jobs.agent.login.sessions import Sessions
from jobs.agent.ports import LocalStore
from jobs.agent.resources import Resources
from jobs.model.login import NODE_PATH, LoginEnd, LoginSpec, decode_end, encode_spec
from jobs.model.resources import Capacity
from jobs.model.wire import InputRef, TaskKind
from manta.core import websocket
from manta.core.clock import SystemClock
from manta.core.limits import MIB
from manta.core.peers import NodeAddress
from manta.core.websocket import Kind, Message
from storage_nodes.client.connection import Connection
from storage_nodes.client.node_client import NodeClient
from storage_nodes.server.bounded import BoundedServer
from storage_nodes.server.handlers import Handlers
from storage_nodes.server.listener import NodeHandler
from tests.support.sandbox import CONTENT, put_blob, started

CAPACITY = Capacity(8192 * MIB, 2.0)
KEY = secrets.token_bytes(32)
INPUT = InputRef("books", "moby.txt", len(CONTENT), "0" * 32)
SPEC = LoginSpec("alice", TaskKind.MAP, (INPUT,), 64 * MIB, 8 * MIB, 60.0)


class OneBlob:
    """The part of LocalStore that sessions use."""

    def __init__(self, path: str) -> None:
        self._path = path

    async def checked(self, blob_id: str, size: int) -> str:
        return self._path


class Client:
    """A client on its connection, as a gateway hands it through."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.pings = 0
        self._decoder = websocket.Decoder(masked=False, message_max_bytes=1 << 20)
        self._messages: list[Message] = []

    async def send(self, kind: Kind, data: bytes = b"") -> None:
        await self.connection.send(websocket.encode(kind, data, secrets.token_bytes(4)))

    async def receive(self, *, pong: bool = True) -> Message:
        """The next message that is no ping. EOFError at the end."""
        while True:
            while not self._messages:
                self._messages = self._decoder.feed(await self.connection.read_some(1 << 16))
            message = self._messages.pop(0)
            if message.kind is not Kind.PING:
                return message
            self.pings += 1
            if pong:
                await self.send(Kind.PONG, message.data)

    async def until(self, text: bytes) -> bytes:
        said = b""
        while text not in said:
            said += (await self.receive()).data
        return said

    async def end(self, *, pong: bool = True) -> LoginEnd:
        """How the session ended."""
        while (message := await self.receive(pong=pong)).kind is not Kind.TEXT:
            pass
        assert (await self.receive()).kind is Kind.CLOSE
        return decode_end(message.data)


@dataclass
class LoginNode:
    sessions: Sessions
    client: NodeClient
    resources: Resources

    @contextlib.asynccontextmanager
    async def session(self, **changes: Any) -> AsyncIterator[Client]:
        connection = await self.client.upgrade(NODE_PATH, encode_spec(replace_spec(**changes)), 30.0)
        try:
            yield Client(connection)
        finally:
            connection.close()

    async def emptied(self) -> None:
        """Once no session is left."""
        deadline = time.monotonic() + 30
        while self.sessions.status()["login_sessions"]:
            assert time.monotonic() < deadline, "a session goes on"
            await asyncio.sleep(0.01)


def replace_spec(**changes: Any) -> LoginSpec:
    return msgspec.structs.replace(SPEC, **{"nonce": secrets.token_hex(8), **changes})


@contextlib.asynccontextmanager
async def login_node(folder: Path, state: Path, patience: Patience) -> AsyncIterator[LoginNode]:
    blobs = folder / "blobs"
    async with started(blobs, state, "c") as sandbox:
        store = cast(LocalStore, OneBlob(put_blob(blobs, "blob-1", CONTENT)))
        resources = Resources(2, CAPACITY)
        sessions = Sessions(sandbox, store, cast(ObjectCache, None), SystemClock(), resources, lambda: None, patience)

        async def serve(request: web.BaseRequest) -> web.StreamResponse:
            return await sessions.serve(request)

        handler = NodeHandler(cast(Handlers, None), KEY, {"/agent/": serve})
        runner = web.ServerRunner(BoundedServer(handler), shutdown_timeout=5.0)
        await runner.setup()
        address = f"{folder}/node.sock"
        await web.UnixSite(runner, address).start()
        client = NodeClient(NodeAddress("node-1", f"unix:{address}", KEY))
        try:
            yield LoginNode(sessions, client, resources)
        finally:
            await client.close()
            await sessions.close()
            await runner.cleanup()
