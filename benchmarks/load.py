"""A load generator that costs little: requests are signed before the clock starts, connections are kept open.

Runs as `CLIENTS` processes with a share of the connections each. Every connection is a closed loop: it sends its next
request when the answer to the last one is complete. Any status but the expected one ends the run with its text.
"""

import asyncio
import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

CLIENTS = 2


@dataclass(frozen=True)
class Target:
    url: str
    access_key: str
    secret_key: str


@dataclass(frozen=True)
class Result:
    """`seconds` from the first request of any client to the last answer of all; latencies in ms."""

    requests: int
    seconds: float
    latencies_ms: list[float]

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


def sign(target: Target, method: str, path: str, body: bytes = b"", *, unsigned: bool = False) -> bytes:
    """A whole HTTP/1.1 request, signed by botocore for the header form. `path` may have a `?query`."""
    key, _, query = path.partition("?")
    resource = quote(key) + (f"?{query}" if query else "")
    request = AWSRequest(method=method, url=target.url + resource, data=body)
    # Without this botocore hashes, and signs, whatever goes over plain HTTP.
    request.context["client_config"] = Config(s3={"payload_signing_enabled": not unsigned})
    signer = S3SigV4Auth(Credentials(target.access_key, target.secret_key), "s3", "us-east-1")
    signer.add_auth(request)
    host = urlsplit(target.url).netloc
    lines = [f"{method} {resource} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items() if name.lower() != "host"]
    if body or method == "PUT":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class _Connection(asyncio.Protocol):
    """One closed loop over its own requests."""

    def __init__(self, requests: Sequence[bytes], done: asyncio.Future[list[float]]) -> None:
        self._requests = iter(requests)
        self._done = done
        self._buffer = bytearray()
        self._missing: int | None = None
        self._sent = 0.0
        self._latencies: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(exc or ConnectionError("The server closed the connection."))

    def data_received(self, data: bytes) -> None:
        if self._missing is None:
            self._buffer += data
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._buffer[:end]).lower()
            if not head.startswith((b"http/1.1 200", b"http/1.1 206", b"http/1.1 204")):
                self._done.set_exception(RuntimeError(self._buffer.decode("utf-8", "replace")))
                self._transport.close()
                return
            mark = head.find(b"content-length:")
            length = int(head[mark + 15 :].split(b"\r\n", 1)[0]) if mark >= 0 else 0
            self._missing = length - (len(self._buffer) - end - 4)
            self._buffer.clear()
        else:
            self._missing -= len(data)
        if self._missing <= 0:
            self._missing = None
            self._latencies.append((time.perf_counter() - self._sent) * 1000)
            self._next()

    def _next(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._done.set_result(self._latencies)
            self._transport.close()
            return
        self._sent = time.perf_counter()
        self._transport.write(request)


async def _client(host: str, port: int, shares: Sequence[Sequence[bytes]]) -> list[float]:
    loop = asyncio.get_running_loop()
    waits: list[asyncio.Future[list[float]]] = []
    for share in shares:
        done: asyncio.Future[list[float]] = loop.create_future()
        waits.append(done)
        await loop.create_connection(lambda share=share, done=done: _Connection(share, done), host, port)  # type: ignore[misc]
    return [latency for latencies in await asyncio.gather(*waits) for latency in latencies]


@dataclass(frozen=True)
class Plan:
    """What the clients send; `paths` (with `?query` where wanted) are spread over the connections. Bodies are equal."""

    method: str
    paths: Sequence[str]
    body: bytes = b""
    unsigned: bool = False


def _work(
    target: Target,
    plan: Plan,
    connections: int,
    barrier: "multiprocessing.synchronize.Barrier",
    results: "multiprocessing.Queue[object]",
) -> None:
    try:
        signed = [sign(target, plan.method, p, plan.body, unsigned=plan.unsigned) for p in plan.paths]
        shares = [signed[number::connections] for number in range(connections)]
        parts = urlsplit(target.url)
        assert parts.hostname is not None
        assert parts.port is not None
        barrier.wait(300)
        started = time.time()
        latencies = asyncio.run(_client(parts.hostname, parts.port, shares))
        results.put((started, time.time(), latencies))
    except BaseException as error:
        barrier.abort()
        results.put(error)


def run(target: Target, plan: Plan, connections: int) -> Result:
    """The plan over `connections`, in CLIENTS processes (fewer when there are fewer connections)."""
    clients = min(CLIENTS, connections)
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(clients)
    results: multiprocessing.Queue[object] = context.Queue()
    processes = []
    for number in range(clients):
        share = Plan(plan.method, plan.paths[number::clients], plan.body, plan.unsigned)
        arguments = (target, share, connections // clients, barrier, results)
        processes.append(context.Process(target=_work, args=arguments))
    for process in processes:
        process.start()
    answers = [results.get(timeout=600) for _ in processes]
    for process in processes:
        process.join()
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    spans = [answer for answer in answers if isinstance(answer, tuple)]
    latencies = [latency for _, _, share in spans for latency in share]
    seconds = max(end for _, end, _ in spans) - min(start for start, _, _ in spans)
    return Result(len(latencies), seconds, latencies)
