"""A little network of the test's own: hosts as network namespaces on one bridge. Needs root."""

import itertools
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).parents[2]


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@dataclass(frozen=True)
class Host:
    """One namespace with one interface, `eth0`. `uid` is who runs programs there; each host has its own."""

    namespace: str
    address: str
    uid: int

    def command(self, arguments: Sequence[str]) -> list[str]:
        identity = ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups", "--"]
        return ["ip", "netns", "exec", self.namespace, *identity, *arguments]

    def python(self, *arguments: str) -> list[str]:
        return self.command([sys.executable, *arguments])

    def run(self, arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            self.command(arguments), env=dict(environment), cwd=_ROOT, capture_output=True, timeout=100, check=False
        )

    def start(self, log: Path, *arguments: str) -> subprocess.Popen[bytes]:
        """A Python program that runs until it is told to end."""
        with open(log, "ab") as file:
            return subprocess.Popen(
                self.python(*arguments), stdout=file, stderr=file, cwd=_ROOT, env=os.environ | {"HOME": str(log.parent)}
            )

    def traffic_bytes(self) -> int:
        """What its interface has sent and received so far, as the kernel counts it."""
        files = [f"/sys/class/net/eth0/statistics/{way}_bytes" for way in ("rx", "tx")]
        answer = subprocess.run(
            ["ip", "netns", "exec", self.namespace, "cat", *files], check=True, capture_output=True, text=True
        )
        return sum(map(int, answer.stdout.split()))


@contextmanager
def network(count: int, first_uid: int = 61000) -> Iterator[list[Host]]:
    """`count` hosts that reach each other, and nothing else; gone afterwards."""
    tag = f"mt{secrets.token_hex(3)}"
    switch = f"{tag}-sw"
    hosts = [Host(f"{tag}-{number}", f"10.77.0.{number + 1}", first_uid + number) for number in range(count)]
    made: list[str] = []
    try:
        for namespace in itertools.chain([switch], (host.namespace for host in hosts)):
            _ip("netns", "add", namespace)
            made.append(namespace)
            _ip("-n", namespace, "link", "set", "lo", "up")
        _ip("-n", switch, "link", "add", "br0", "type", "bridge")
        _ip("-n", switch, "link", "set", "br0", "up")
        for number, host in enumerate(hosts):
            port = f"p{number}"
            _ip("-n", switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host.namespace)
            _ip("-n", switch, "link", "set", port, "master", "br0", "up")
            _ip("-n", host.namespace, "address", "add", f"{host.address}/24", "dev", "eth0")
            _ip("-n", host.namespace, "link", "set", "eth0", "up")
        yield hosts
    finally:
        for namespace in made:
            _ip("netns", "delete", namespace)
