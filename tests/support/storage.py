"""Real storage nodes for tests: processes of their own, on a Unix socket or TCP, killed and started at will."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from manta.core.config import NodeConfig, save
from manta.core.names import new_id
from manta.core.peers import NodeAddress
from storage_nodes.api import BlobReader, BlobWriter
from storage_nodes.client.node_client import NodeClient

KEY = bytes(range(32))


NewNode = Callable[..., "NodeProcess"]
"""Takes the options of `NodeProcess`."""


@contextmanager
def new_nodes(root: Path) -> Iterator[NewNode]:
    """Makes nodes below `root` that are stopped at the end, however it comes."""
    made: list[NodeProcess] = []

    def make(folder: str = "node", *, node_id: str = "n1", tcp: bool = False, journal: bool = True) -> NodeProcess:
        made.append(NodeProcess(root / folder, node_id=node_id, tcp=tcp, journal=journal))
        return made[-1]

    try:
        yield make
    finally:
        for node in made:
            node.stop()


def blob_id(age_s: float = 0.0) -> str:
    return new_id(int((time.time() - age_s) * 1000))


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class NodeProcess:
    """One `python -m storage_nodes`; `start` returns when it takes calls."""

    def __init__(self, root: Path, *, node_id: str = "n1", tcp: bool = False, journal: bool = True) -> None:
        self.root = root
        self.data = root / "volume"
        self.node_id = node_id
        self.journal = journal
        root.mkdir(parents=True, exist_ok=True)
        # A socket's path may have 107 bytes; pytest's folders are longer.
        self._socket = f"/tmp/manta-test-{secrets.token_hex(6)}.sock"
        self.url = f"http://127.0.0.1:{free_port()}" if tcp else f"unix:{self._socket}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def address(self) -> NodeAddress:
        return NodeAddress(self.node_id, self.url, KEY)

    def client(self, timeout_s: float = 30.0) -> NodeClient:
        return NodeClient(self.address, timeout_s=timeout_s)

    def start(self, *, crash_at: str = "", prefix: tuple[str, ...] = ()) -> None:
        """Start it, or raise what it said. `prefix` runs it under another program, such as strace."""
        reading, writing = os.pipe()
        config = NodeConfig(
            node_id=self.node_id,
            data_dir=str(self.data),
            key=KEY.hex(),
            listen=self.url,
            ready_fd=writing,
            journal=self.journal,
        )
        path = self.root / "node.json"
        save(path, config)
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "storage_nodes", str(path)],
            pass_fds=[writing],
            env={**os.environ, "MANTA_CRASH_AT": crash_at},
            stderr=subprocess.PIPE,
        )
        os.close(writing)
        with os.fdopen(reading, "rb") as ready:
            if ready.readline() == b"ready\n":
                return
        said = self._process.communicate()[1].decode()
        raise RuntimeError(f"the node did not start: {said}")

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.wait()

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self) -> int:
        """Its exit status once it has ended."""
        assert self._process is not None
        status = self._process.wait(timeout=60)
        if self._process.stderr is not None:
            self._process.stderr.close()
        return status

    def stop(self) -> None:
        if self._process is not None:
            if self._process.poll() is None:
                self.signal(signal.SIGTERM)
            self.wait()
        Path(self._socket).unlink(missing_ok=True)


async def write_all(writer: BlobWriter, data: bytes, step: int = 300_000) -> None:
    for start in range(0, len(data), step):
        await writer.write(data[start : start + step])


async def read_all(reader: BlobReader) -> bytes:
    parts = []
    while data := await reader.read():
        parts.append(data)
    await reader.close()
    return b"".join(parts)


async def get(client: NodeClient, blob: str, size: int, start: int = 0) -> bytes:
    return await read_all(await client.open_get(blob, start, size))


async def put_stream(client: NodeClient, blob: str, data: bytes, *, sized: bool = True) -> None:
    writer = await client.open_put(blob, len(data) if sized else None)
    await write_all(writer, data)
    await writer.commit()


@pytest.fixture
def storage_node(tmp_path: Path) -> Iterator[NewNode]:
    with new_nodes(tmp_path) as make:
        yield make
