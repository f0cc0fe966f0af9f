"""A node dies and its disk with it: what is left goes on serving, and says so when it cannot (D4, D9)."""

import os
import signal
import time

import pytest

from benchmarks.load import Target
from manta.core.errors import MantaError
from tests.conftest import Serve
from tests.support.ledger import Client
from tests.support.store import RunningStore

SIZES = (0, 5, 4096, 300_000, 9_000_000)


def _lose(store: RunningStore, node: str) -> None:
    """The node is killed and its folder is gone for good: a file stands in its place, so it cannot come back."""
    folder = store.data / "nodes" / node
    pid = store.children()[node]
    os.kill(pid, signal.SIGSTOP)
    folder.rename(folder.with_name(f"{node}-lost"))
    folder.write_bytes(b"")
    os.kill(pid, signal.SIGKILL)


def _content(number: int) -> bytes:
    size = SIZES[number % len(SIZES)]
    return (b"%08d" % number * (size // 8 + 1))[:size]


@pytest.mark.parametrize("lost", ["node-1", "node-2", "node-3"])
def test_with_any_one_node_lost_every_get_and_put_succeeds(serve: Serve, lost: str) -> None:
    store = serve("--nodes", "3", "--copies", "2", "--lanes", "0")
    with store.client() as client:
        client.make_bucket("kept")
        for number in range(15):
            client.write(f"s3://kept/{number}", _content(number))
        _lose(store, lost)
        raw = Client(Target(store.url, store.access_key, store.secret_key))
        for number in range(15):
            assert raw.ask("GET", f"/kept/{number}") == (200, _content(number)), number
        for number in range(15, 30):
            answer = raw.ask("PUT", f"/kept/{number}", _content(number))
            assert answer is not None, number
            assert answer[0] == 200, answer
        assert [client.read(f"s3://kept/{number}") for number in range(30)] == [_content(n) for n in range(30)]


def test_with_too_few_nodes_put_says_503_and_reads_go_on(serve: Serve) -> None:
    store = serve("--nodes", "3", "--copies", "2", "--lanes", "0")
    target = Target(store.url, store.access_key, store.secret_key)
    with store.client() as client:
        client.make_bucket("kept")
        for number in range(20):
            client.write(f"s3://kept/{number}", b"%d" % number)
        _lose(store, "node-1")
        _lose(store, "node-2")
        started = time.monotonic()
        assert Client(target).ask("PUT", "/kept/new", b"x") is None  # a 5xx
        assert time.monotonic() - started < 30
        with pytest.raises(MantaError) as refused:
            client.write("s3://kept/new", b"x")
        assert refused.value.retryable
        readable = [number for number in range(20) if Client(target).ask("GET", f"/kept/{number}") is not None]
        # Two of the three pairs of nodes include the one that is left.
        assert readable
        assert all(client.read(f"s3://kept/{number}") == b"%d" % number for number in readable)
        assert not client.exists("s3://kept/new")


@pytest.mark.invariant("D4")
def test_damaged_bytes_are_never_served_and_another_copy_is(serve: Serve) -> None:
    store = serve("--nodes", "2", "--copies", "2", "--lanes", "0")
    with store.client() as client:
        client.make_bucket("kept")
        small, large = b"small" * 100, os.urandom(3_000_000)
        client.write("s3://kept/small", small)
        client.write("s3://kept/large", large)
    # Restart, so that nothing remembers having checked these files.
    store.stop()
    again = serve("--lanes", "0", name="store")
    damaged = _damage(again, "node-1")
    assert damaged == 2
    with again.client() as client:
        for _ in range(3):
            assert client.read("s3://kept/small") == small
            assert client.read("s3://kept/large") == large
        damaged_everywhere = _damage(again, "node-2")
        assert damaged_everywhere == 2
        answers = [Client(Target(again.url, again.access_key, again.secret_key)).ask("GET", "/kept/small")]
        assert answers == [None]


def _damage(store: RunningStore, node: str) -> int:
    """Flip a byte in the middle of every blob, leaving its size; how many there were."""
    count = 0
    for path in (store.data / "nodes" / node / "blobs").rglob("*"):
        if path.is_file() and path.suffix != ".sum":
            path.chmod(0o600)
            with open(path, "r+b") as file:
                file.seek(path.stat().st_size // 2)
                byte = file.read(1)
                file.seek(-1, os.SEEK_CUR)
                file.write(bytes([byte[0] ^ 0xFF]))
            count += 1
    return count
