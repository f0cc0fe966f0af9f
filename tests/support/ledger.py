"""What was acknowledged, kept by the clients themselves: writers that note each answer and check each read."""

import hashlib
import http.client
import random
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from benchmarks.load import Target, sign

SIZES = (0, 1, 700, 4096, 100_000, 300_000, 2_500_000)
MISSING = b""
ANSWER_TIMEOUT_S = 30.0


def content(key: str, number: int, size: int) -> bytes:
    """The bytes of write `number` to `key`: any other write's differ, at any size above zero."""
    seed = hashlib.sha256(f"{key}/{number}".encode()).digest()
    return (seed * (size // len(seed) + 1))[:size]


def summary(data: bytes | None) -> bytes:
    """What the ledger remembers of a value; of no object, `MISSING`."""
    return MISSING if data is None else hashlib.sha256(data).digest()


@dataclass
class Entry:
    """A key's last acknowledged value and the values of writes since then whose fate is unknown."""

    acknowledged: bytes = MISSING
    uncertain: set[bytes] = field(default_factory=set)

    def allows(self, value: bytes) -> bool:
        return value == self.acknowledged or value in self.uncertain


class Client:
    """One request at a time, a new connection for each, no retry: None when the answer did not come or was 5xx."""

    def __init__(self, target: Target, timeout_s: float = 60.0) -> None:
        self._target = target
        self._timeout_s = timeout_s

    def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes] | None:
        parts = urlsplit(self._target.url)
        link = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=self._timeout_s)
        head, _, _ = sign(self._target, method, path, body).partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        try:
            link.request(method, path, body=body if method == "PUT" else None, headers=headers)
            answer = link.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            link.close()
        return None if answer.status >= 500 else (answer.status, data)


class Ledger:
    """Writers on keys of their own, for as long as the context lasts. `wrong` holds every broken promise seen."""

    def __init__(self, target: Target, bucket: str, writers: int = 4, keys: int = 12) -> None:
        self.target = target
        self.bucket = bucket
        self.entries: dict[str, Entry] = {}
        self.wrong: list[str] = []
        self.acknowledged = 0
        self._writers = writers
        self._keys = keys
        self._stop = threading.Event()
        self._doubted = threading.Event()
        self._threads: list[threading.Thread] = []
        self._progress = threading.Condition()

    def __enter__(self) -> "Ledger":
        self._threads = [threading.Thread(target=self._write, args=(n,), daemon=True) for n in range(self._writers)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(120)

    def doubt(self) -> None:
        """What is answered from here on may be lost: it counts as a write whose fate is unknown."""
        self._doubted.set()

    def await_progress(self, writes: int, timeout_s: float = 120.0) -> None:
        """Return once that many more writes were acknowledged."""
        with self._progress:
            goal = self.acknowledged + writes
            assert self._progress.wait_for(lambda: self.acknowledged >= goal, timeout=timeout_s), "no progress"

    def audit(self) -> list[str]:
        """Read every key once more, with nothing else going on; what is lost or wrong.

        A process killed just now may still be starting: each key has ANSWER_TIMEOUT_S to be answered.
        """
        client = Client(self.target)
        for key, entry in sorted(self.entries.items()):
            self._check(client, key, entry, must_answer=True)
        return self.wrong

    def _write(self, writer: int) -> None:
        dice = random.Random(writer)
        client = Client(self.target)
        number = 0
        while not self._stop.is_set():
            number += 1
            key = f"{writer}/{dice.randrange(self._keys)}"
            entry = self.entries.setdefault(key, Entry())
            chance = dice.random()
            if chance < 0.3:
                self._check(client, key, entry)
            elif chance < 0.4:
                self._change(client, entry, "DELETE", key, None)
            else:
                self._change(client, entry, "PUT", key, content(key, number, dice.choice(SIZES)))

    def _change(self, client: Client, entry: Entry, method: str, key: str, data: bytes | None) -> None:
        value = summary(data)
        entry.uncertain.add(value)
        answer = client.ask(method, f"/{self.bucket}/{key}", data or b"")
        if answer is None:
            return
        if answer[0] not in (200, 204):
            self.wrong.append(f"{method} {key}: {answer[0]} {answer[1][:200]!r}")
            return
        if self._doubted.is_set():
            return
        entry.acknowledged = value
        entry.uncertain.clear()
        with self._progress:
            self.acknowledged += 1
            self._progress.notify_all()

    def _check(self, client: Client, key: str, entry: Entry, *, must_answer: bool = False) -> None:
        answer = client.ask("GET", f"/{self.bucket}/{key}")
        deadline = time.monotonic() + ANSWER_TIMEOUT_S
        while answer is None and must_answer and time.monotonic() < deadline:
            answer = client.ask("GET", f"/{self.bucket}/{key}")
        if answer is None:
            if must_answer:
                self.wrong.append(f"GET {key}: no answer")
            return
        status, data = answer
        value = summary(data if status == 200 else None)
        if status not in (200, 404) or not entry.allows(value):
            self.wrong.append(f"GET {key}: {status}, {len(data)} bytes that were never acknowledged there")
