"""Real storage nodes in processes of their own, to be killed: `python -m tests.support.node_processes CONFIG`."""

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from manta.catalog.records import Node, NodeState
from manta.core.config import NodeConfig, load, save
from storage_nodes.server.daemon import serve_storage, tell_ready

MACHINE = "this-machine"
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class NodeProcess:
    """One node with its folder below `folder`; `listen` as in NodeConfig ("" for a Unix socket in the folder)."""

    node_id: str
    folder: Path
    listen: str = ""
    process: "subprocess.Popen[bytes] | None" = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.listen = self.listen or f"unix:{self.folder}/node.sock"

    @property
    def key(self) -> bytes:
        return self.node_id.encode() * 4

    @property
    def volume(self) -> Path:
        return self.folder / "volume"

    def record(self, *, machine_id: str = MACHINE) -> Node:
        return Node(self.node_id, self.listen, self.key, machine_id, str(self.volume), NodeState.ACTIVE, 0)

    def start(self) -> None:
        """Returns once it takes calls."""
        ready, told = os.pipe()
        config = NodeConfig(
            node_id=self.node_id,
            data_dir=str(self.volume),
            key=self.key.hex(),
            listen=self.listen,
            lanes=0,
            ready_fd=told,
        )
        path = self.folder / "node.json"
        save(path, config)
        command = [sys.executable, "-m", "tests.support.node_processes", str(path)]
        self.process = subprocess.Popen(command, cwd=ROOT, pass_fds=[told])
        os.close(told)
        try:
            assert os.read(ready, 16).startswith(b"ready"), f"{self.node_id} did not start"
        finally:
            os.close(ready)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def pause(self) -> None:
        """Alive for the kernel, silent for everybody else."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def blob_files(self) -> list[Path]:
        return [path for path in (self.volume / "blobs").rglob("*") if path.is_file() and path.suffix != ".sum"]


async def _serve(path: Path) -> None:
    config = load(path, NodeConfig)
    server = await serve_storage(config)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    tell_ready(config)
    await ended.wait()
    await server.close()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
