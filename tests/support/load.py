"""Clients that do not retry: threads that put and get over kept connections until told to stop."""

import http.client
import itertools
import threading
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from benchmarks.load import Target, sign

BODY = b"under load " * 100


@dataclass
class Load:
    """Use as a context. `failures` holds whatever was not a plain success."""

    target: Target
    bucket: str
    threads: int = 4
    failures: list[str] = field(default_factory=list)
    done: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _workers: list[threading.Thread] = field(default_factory=list)
    _progress: threading.Condition = field(default_factory=threading.Condition)

    def __enter__(self) -> "Load":
        for number in range(self.threads):
            worker = threading.Thread(target=self._work, args=(number,), daemon=True)
            worker.start()
            self._workers.append(worker)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for worker in self._workers:
            worker.join(60)

    def await_progress(self, requests: int) -> None:
        """Return once that many more requests have succeeded, or one has failed."""
        with self._progress:
            goal = self.done + requests
            assert self._progress.wait_for(lambda: self.done >= goal or self.failures, timeout=60), "no progress"

    def _work(self, number: int) -> None:
        parts = urlsplit(self.target.url)
        link = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        try:
            for turn in itertools.count():
                if self._stop.is_set():
                    return
                path = f"/{self.bucket}/{number}/{turn % 50}"
                self._exchange(link, "PUT", path, BODY)
                answer = self._exchange(link, "GET", path, b"")
                assert answer == BODY, f"GET {path} gave {len(answer)} other bytes"
        except Exception as error:
            with self._progress:
                self.failures.append(f"{type(error).__name__}: {error}")
                self._progress.notify_all()
        finally:
            link.close()

    def _exchange(self, link: http.client.HTTPConnection, method: str, path: str, body: bytes) -> bytes:
        """One request as it would be on the wire, without any retry."""
        head, _, _ = sign(self.target, method, path, body).partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        link.request(method, path, body=body or None, headers=headers)
        answer = link.getresponse()
        content = answer.read()
        assert answer.status == 200, f"{method} {path}: {answer.status} {content[:300]!r}"
        with self._progress:
            self.done += 1
            self._progress.notify_all()
        return content
