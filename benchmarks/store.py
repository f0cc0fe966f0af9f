"""How fast are PUT, GET and LIST? Client and store share this machine.

python -m benchmarks.store [--tcp-nodes] [--postgres] [--runs 5] [--only put-4k,get-4k,list,put-64m,get-64m]
"""

import argparse
import hashlib
import os
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.catalogs import catalog_options
from benchmarks.load import Plan, Target, run, sign
from benchmarks.report import Figure, percentile, repeat, show
from tests.support.store import RunningStore, running_store

KIB = 1024
MIB = 1024 * KIB
BUCKET = "bench"
SMALL = 4 * KIB
LARGE = 64 * MIB
LIST_KEYS = 100_000
CONNECTIONS = 8


class Bench:
    """The questions, asked of one running store."""

    def __init__(self, store: RunningStore, runs: int) -> None:
        self.store = store
        self.runs = runs
        self.target = Target(store.url, store.access_key, store.secret_key)
        self.counter = 0

    def put_4k(self) -> list[Figure]:
        figures = []
        for connections, count, target in ((CONNECTIONS, 4000, 1000.0), (32, 8000, 2000.0)):
            latencies: list[float] = []
            rates = repeat(self.runs, lambda n=count, c=connections, seen=latencies: self._put_small(n, c, seen))  # type: ignore[misc]
            note = f"p50 {percentile(latencies, 0.5):.1f} ms, p99 {percentile(latencies, 0.99):.1f} ms"
            figures.append(Figure(f"durable PUT 4 KiB, {connections} connections", "1/s", rates, target, note=note))
        return figures

    def _put_small(self, count: int, connections: int, latencies: list[float]) -> float:
        self.counter += 1
        paths = [f"/{BUCKET}/put/{self.counter:03d}/{number:07d}" for number in range(count)]
        result = run(self.target, Plan("PUT", paths, os.urandom(SMALL)), connections)
        latencies.extend(result.latencies_ms)
        return result.rate

    def get_4k(self) -> list[Figure]:
        paths = [f"/{BUCKET}/get/{number:05d}" for number in range(1000)]
        run(self.target, Plan("PUT", paths, os.urandom(SMALL)), CONNECTIONS)
        latencies: list[float] = []

        def measure() -> float:
            result = run(self.target, Plan("GET", paths * 40), CONNECTIONS)
            latencies.extend(result.latencies_ms)
            return result.rate

        rates = repeat(self.runs, measure)
        note = f"p50 {percentile(latencies, 0.5):.2f} ms, p99 {percentile(latencies, 0.99):.2f} ms"
        return [Figure("signed GET 4 KiB, 8 connections", "1/s", rates, 8000, note=note)]

    def list_pages(self) -> list[Figure]:
        paths = [f"/{BUCKET}-list/{number // 1000:03d}/{number:07d}" for number in range(LIST_KEYS)]
        run(self.target, Plan("PUT", paths), 32)
        # Spread over the bucket: what one page costs must not depend on where it lies.
        pages = [f"/{BUCKET}-list?list-type=2&start-after={number % 100:03d}%2F" for number in range(400)]

        def measure() -> float:
            return run(self.target, Plan("GET", pages), CONNECTIONS).rate

        return [Figure("LIST pages of 1,000 keys, from 100,000", "1/s", repeat(self.runs, measure), 150)]

    def put_64m(self) -> list[Figure]:
        body = os.urandom(LARGE)
        md5: list[float] = []
        rates: list[float] = []
        for number in range(self.runs + 1):
            alone = _rate(lambda: hashlib.md5(body).digest())
            request = self._large(body, number)
            put = _rate(lambda sent=request: self._send_large(sent))  # type: ignore[misc]
            if number:
                md5.append(alone)
                rates.append(put)
        middle = sorted(md5)[len(md5) // 2]
        ratios = [rate / alone for rate, alone in zip(rates, md5, strict=True)]
        return [
            Figure("MD5 alone, one core", "MB/s", md5),
            Figure("PUT 64 MiB, one connection", "MB/s", rates, 0.75 * middle),
            Figure("PUT 64 MiB / MD5 alone", "ratio", ratios, 0.75),
        ]

    def _large(self, body: bytes, number: int) -> bytes:
        """A signed request; that it is copied together here is no part of any figure."""
        return sign(self.target, "PUT", f"/{BUCKET}/large/{number % 4}", body, unsigned=True)

    def _send_large(self, request: bytes) -> None:
        with _connect(self.target.url) as link:
            link.sendall(request)
            _expect_ok(link.recv(64 * KIB))

    def get_64m(self) -> list[Figure]:
        self._send_large(self._large(os.urandom(LARGE), 0))
        request = sign(self.target, "GET", f"/{BUCKET}/large/0")
        buffer = bytearray(4 * MIB)

        def measure() -> float:
            return _rate(lambda: _drain(self.target.url, request, buffer))

        return [Figure("GET 64 MiB, one connection", "MB/s", repeat(self.runs * 2, measure), 2000)]


def _rate(action: Callable[[], object]) -> float:
    """MB/s (10^6 bytes) of an action that moves LARGE bytes."""
    started = time.perf_counter()
    action()
    return LARGE / (time.perf_counter() - started) / 1e6


def _connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    assert parts.hostname is not None
    return socket.create_connection((parts.hostname, parts.port or 80), timeout=60)


def _expect_ok(answer: bytes) -> None:
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(answer.decode("utf-8", "replace"))


def _drain(url: str, request: bytes, buffer: bytearray) -> None:
    """Read one reply with a body of LARGE bytes."""
    with _connect(url) as link:
        link.sendall(request)
        head = b""
        while b"\r\n\r\n" not in head:
            head += link.recv(64 * KIB)
        _expect_ok(head)
        missing = LARGE - (len(head) - head.index(b"\r\n\r\n") - 4)
        while missing > 0:
            got = link.recv_into(buffer)
            if got == 0:
                raise RuntimeError("The reply was cut short.")
            missing -= got


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tcp-nodes", action="store_true", help="gateway and node apart, over TCP")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default="put-4k,get-4k,list,put-64m,get-64m")
    parser.add_argument("--postgres", action="store_true", help="catalog on a PostgreSQL of its own, with fsync")
    options = parser.parse_args()
    serve = ["--lanes", "0", *(["--tcp-nodes"] if options.tcp_nodes else [])]
    with (
        catalog_options(postgres=options.postgres) as catalog,
        tempfile.TemporaryDirectory(prefix="manta-bench-") as folder,
        running_store(Path(folder), *serve, *catalog) as store,
    ):
        with store.client() as client:
            client.make_bucket(BUCKET)
            client.make_bucket(f"{BUCKET}-list")
        bench = Bench(store, options.runs)
        questions = {
            "put-4k": bench.put_4k,
            "get-4k": bench.get_4k,
            "list": bench.list_pages,
            "put-64m": bench.put_64m,
            "get-64m": bench.get_64m,
        }
        figures = [figure for name in options.only.split(",") for figure in questions[name]()]
    where = "gateway and node apart, over TCP" if options.tcp_nodes else "gateway and node on one machine"
    show(f"Store: {where}, catalog on {'PostgreSQL' if options.postgres else 'SQLite'}", figures)


if __name__ == "__main__":
    main()
