"""How the SDK's calls leave this machine, as seen from its own sockets."""

import io
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from manta.core.errors import ServiceUnavailable
from manta.sdk.session import find_session
from manta.sdk.store import Store
from manta.sdk.transport import Transport


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_HEAD(self) -> None:
        self.send_response(200)
        for name, value in (("Content-Length", "10"), ("ETag", '"e"'), ("Connection", "close")):
            self.send_header(name, value)
        self.end_headers()

    def do_GET(self) -> None:
        """Breaks off, as the store does when no copy of the rest is good."""
        self.do_HEAD()
        self.wfile.write(b"begun")

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


def test_a_download_that_breaks_off_again_and_again_is_told_as_the_stores_failure(port: int) -> None:
    session = find_session(f"http://127.0.0.1:{port}", "A", "S", environment={})
    with Store(session) as store, pytest.raises(ServiceUnavailable, match=r"^s3://books/moby: "):
        store.download("s3://books/moby", io.BytesIO())


def test_who_follows_a_job_of_a_store_that_is_away_hears_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    transport = Transport(find_session(f"http://127.0.0.1:{port}", "A", "S", environment={}))
    with pytest.raises(ServiceUnavailable, match="does not answer"):
        next(transport.stream("/jobs/j/stderr", {"follow": "1"}))
    transport.close()


def _connections_to(port: int) -> Iterator[socket.socket]:
    """Those of this process."""
    for descriptor in list(Path("/proc/self/fd").iterdir()):
        if not os.path.realpath(descriptor).rpartition("/")[2].startswith("socket:"):
            continue
        with socket.socket(fileno=os.dup(int(descriptor.name))) as wire, suppress(OSError):
            if wire.family == socket.AF_INET and wire.getpeername()[1] == port:
                yield wire
