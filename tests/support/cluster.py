"""A cluster as an operator builds it: one gateway and N nodes, each on a host of its own, over TCP."""

import asyncio
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from manta.catalog.open import open_catalog
from manta.catalog.records import Node, NodeState
from manta.core.clock import SystemClock
from manta.core.config import GatewayConfig, NodeConfig, save
from manta.gateway.bootstrap import ensure_root, register_nodes
from tests.support.netns import Host
from tests.support.processes import end

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Cluster:
    gateway: Host
    nodes: list[Host]
    environment: dict[str, str]
    folder: Path

    def manta(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """The `manta` command, run on the gateway's host."""
        return self.gateway.run([sys.executable, "-m", "manta.cli.main", *arguments], self.environment)


def _folder(path: Path, owner: int) -> Path:
    path.mkdir(mode=0o700)
    os.chown(path, owner, owner)
    return path


def _config(path: Path, config: GatewayConfig | NodeConfig, owner: int) -> str:
    save(path, config)
    os.chown(path, owner, owner)
    return str(path)


@contextmanager
def cluster(folder: Path, hosts: list[Host], copies: int) -> Iterator[Cluster]:
    """The first host is the gateway's. Everything is stopped afterwards."""
    folder.mkdir(mode=0o755)
    gateway, *nodes = hosts
    keys = [secrets.token_bytes(32) for _ in nodes]
    home = _folder(folder / "gateway", gateway.uid)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "MANTA_URL": f"http://{gateway.address}:7070",
        "AWS_ACCESS_KEY_ID": "ROOTACCESSKEY",
        "AWS_SECRET_ACCESS_KEY": "root-secret-for-tests",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with ExitStack() as stack:
        for number, (host, key) in enumerate(zip(nodes, keys, strict=True), 1):
            config = NodeConfig(
                node_id=f"node-{number}",
                data_dir=str(_folder(folder / f"node-{number}", host.uid)),
                key=key.hex(),
                listen=f"http://{host.address}:7071",
                gateways=(f"http://{gateway.address}:7070",),
                lanes=2,
            )
            path = _config(folder / f"node-{number}.json", config, host.uid)
            log = folder / f"node-{number}" / "node.log"
            stack.callback(end, host.start(log, "-m", "manta.cli.node", "--config", path), _STOP_TIMEOUT_S)
        catalog = home / "catalog.db"
        _run_as(gateway.uid, lambda: _prepare(catalog, nodes, keys))
        settings = GatewayConfig(
            catalog=f"sqlite:{catalog}", copies=copies, host=gateway.address, machine_id="gateway", direct_reads=False
        )
        path = _config(folder / "gateway.json", settings, gateway.uid)
        started = gateway.start(home / "gateway.log", "-m", "manta.cli.gateway", "--config", path)
        stack.callback(end, started, _STOP_TIMEOUT_S)
        built = Cluster(gateway, nodes, environment, folder)
        _await_ready(built)
        yield built


def _prepare(catalog: Path, nodes: list[Host], keys: list[bytes]) -> None:
    async def fill() -> None:
        opened = await open_catalog(f"sqlite:{catalog}", SystemClock())
        try:
            await ensure_root(opened, "ROOTACCESSKEY", "root-secret-for-tests")
            records = [
                Node(
                    f"node-{number}", f"http://{host.address}:7071", key, f"machine-{number}", None, NodeState.ACTIVE, 0
                )
                for number, (host, key) in enumerate(zip(nodes, keys, strict=True), 1)
            ]
            await register_nodes(opened, records)
        finally:
            await opened.close()

    asyncio.run(fill())


def _run_as(uid: int, action: Callable[[], None]) -> None:
    """In a child process under that uid, so that what it makes belongs to it."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setgid(uid)
            os.setuid(uid)
            action()
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _await_ready(built: Cluster) -> None:
    """Until a bucket can be made and an object put: gateway up, enough nodes seen."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    sample = built.folder / "sample"
    sample.write_bytes(b"sample")
    sample.chmod(0o644)
    while True:
        built.manta("mb", "s3://sample")
        answer = built.manta("put", str(sample), "s3://sample/key")
        if answer.returncode == 0:
            return
        logs = [path.read_text(errors="replace")[-800:] for path in built.folder.glob("*/*.log")]
        assert time.monotonic() < deadline, (answer.stderr, logs)
