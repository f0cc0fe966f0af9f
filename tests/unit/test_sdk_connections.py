"""How the SDK's calls leave this machine, as seen from its own sockets."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from manta.sdk.session import find_session
from manta.sdk.transport import Transport


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), _Answer) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield server.server_port
        server.shutdown()
        serving.join()


def test_a_body_does_not_wait_for_the_acknowledgement_of_its_head(port: int) -> None:
    transport = Transport(find_session(f"http://127.0.0.1:{port}", "A", "S", environment={}))
    transport.json("POST", "/jobs", body={"phases": []})
    waits = [wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0 for wire in _connections_to(port)]
    transport.close()
    assert waits == [False]


def _connections_to(port: int) -> Iterator[socket.socket]:
    """Those of this process."""
    for descriptor in list(Path("/proc/self/fd").iterdir()):
        if not os.path.realpath(descriptor).rpartition("/")[2].startswith("socket:"):
            continue
        with socket.socket(fileno=os.dup(int(descriptor.name))) as wire, suppress(OSError):
            if wire.family == socket.AF_INET and wire.getpeername()[1] == port:
                yield wire
