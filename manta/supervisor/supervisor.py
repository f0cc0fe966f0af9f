"""The embedded store: holds the listening sockets, keeps one gateway and N nodes running, replaces the gateway."""

import asyncio
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from manta.core.config import GatewayConfig, NodeConfig, TlsFiles, save
from manta.core.errands import give_up
from manta.core.errors import ServiceUnavailable
from manta.core.limits import DAY_S, DRAIN_S, JOB_EXPIRY_S
from manta.supervisor import evidence
from manta.supervisor.child import Child, Keeper, Program
from manta.supervisor.data_dir import DataDir, Settings
from manta.supervisor.pulse import PulseRule, watch

NODE_GRACE_S = 20.0
GIVE_BACK_S = 10.0
"""A node kills its tasks and has an answer of the gateway by then, or hangs."""
BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What `manta serve` was asked for. `tcp_nodes`: nodes listen on loopback TCP instead of Unix sockets."""

    host: str
    port: int
    catalog_url: str
    lanes: int
    domain: str | None = None
    region: str = "us-east-1"
    job_expiry_days: float = JOB_EXPIRY_S / DAY_S
    tls: TlsFiles | None = None
    admin_port: int | None = None
    tcp_nodes: bool = False
    journal: bool = True
    sandbox: str = "bubblewrap"
    runtime: str | None = None


@dataclass(frozen=True, slots=True)
class NodePlan:
    """Where one node lives and how it is reached; `key` is hexadecimal."""

    node_id: str
    key: str
    folder: Path
    url: str


def plan_nodes(data: DataDir, settings: Settings, *, tcp: bool) -> list[NodePlan]:
    """A socket for each node: below the runtime folder, or a free loopback port."""
    return [
        NodePlan(
            node_id=node_id,
            key=key,
            folder=data.node_dir(node_id),
            url=f"http://127.0.0.1:{_free_port()}" if tcp else f"unix:{data.runtime / node_id}.sock",
        )
        for node_id, key in settings.nodes.items()
    ]


class Supervisor:
    """Start, then `replace_gateway` at will, then `stop`. Evidence of every unasked death is kept first."""

    def __init__(self, data: DataDir, settings: Settings, options: ServeOptions) -> None:
        self._data = data
        self._settings = settings
        self._options = options
        self._listener = listen(options.host, options.port)
        self._control = _listen_unix(data.runtime / "gateway.sock")
        self._gateway: Keeper | None = None
        self._nodes: list[Keeper] = []
        self._replacing = asyncio.Lock()
        self._pulses: list[asyncio.Task[None]] = []

    @property
    def url(self) -> str:
        """What clients are told: the port is the real one, also when 0 was asked for."""
        scheme = "https" if self._options.tls else "http"
        port = self._listener.getsockname()[1]
        host = f"[{self._options.host}]" if ":" in self._options.host else self._options.host
        return f"{scheme}://{host}:{port}"

    async def start(self, plans: list[NodePlan]) -> None:
        """Nodes first, all at once; the gateway, once they answer."""
        self._nodes = [self._keeper(self._node_program(plan)) for plan in plans]
        self._gateway = self._keeper(self._gateway_program())
        await asyncio.gather(*(keeper.start() for keeper in self._nodes))
        await self._gateway.start()
        control = f"unix:{self._data.runtime / 'gateway.sock'}"
        watched = [(self._gateway, control), *zip(self._nodes, (plan.url for plan in plans), strict=True)]
        self._pulses = [asyncio.create_task(watch(keeper, url, PulseRule())) for keeper, url in watched]

    async def replace_gateway(self) -> None:
        """A new gateway accepts on the same sockets; the present one finishes what it has begun (promise O1)."""
        async with self._replacing:
            if self._gateway is not None:
                await self._gateway.replace(DRAIN_S + 5)

    async def stop(self) -> None:
        """Tasks go back while the gateway takes them, open requests are finished, nodes end. No process is left."""
        await give_up(self._pulses)
        await asyncio.gather(*(keeper.give_back(GIVE_BACK_S) for keeper in self._nodes))
        self._listener.close()
        self._control.close()
        if self._gateway is not None:
            await self._gateway.stop(DRAIN_S + 5)
        await asyncio.gather(*(keeper.stop(NODE_GRACE_S) for keeper in self._nodes))

    def _keeper(self, program: Program) -> Keeper:
        return Keeper(program, self._data.logs, self._bury)

    async def _bury(self, child: Child, code: int) -> None:
        record = evidence.PostMortem(
            process=child.program.name,
            pid=child.pid,
            died_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            uptime_s=round(child.uptime_s, 3),
            cause=evidence.cause_of(code),
            log=evidence.tail(child.log),
            requests=evidence.tail(self._data.logs / "access.log"),
        )
        await asyncio.to_thread(evidence.keep, self._data.evidence, record)

    def _gateway_program(self) -> Program:
        options = self._options
        config = GatewayConfig(
            catalog=options.catalog_url,
            copies=self._settings.copies,
            host=options.host,
            port=options.port,
            listen_fd=self._listener.fileno(),
            control_fd=self._control.fileno(),
            admin_port=options.admin_port,
            domain=options.domain,
            region=options.region,
            job_expiry_days=options.job_expiry_days,
            tls=options.tls,
            log_dir=str(self._data.logs),
            machine_id=self._settings.machine_id,
            direct_reads=not options.tcp_nodes,
        )
        path = self._data.config_file("gateway")
        save(path, config)
        return Program(
            "gateway",
            ("-m", "manta.cli.gateway", "--config", str(path)),
            (self._listener.fileno(), self._control.fileno()),
        )

    def _node_program(self, plan: NodePlan) -> Program:
        config = NodeConfig(
            node_id=plan.node_id,
            data_dir=str(plan.folder),
            key=plan.key,
            listen=plan.url,
            gateways=(f"unix:{self._data.runtime / 'gateway.sock'}",),
            lanes=self._options.lanes,
            nodes_here=len(self._settings.nodes),
            journal=self._options.journal,
            sandbox=self._options.sandbox,
            runtime=self._options.runtime,
        )
        path = self._data.config_file(plan.node_id)
        save(path, config)
        return Program(plan.node_id, ("-m", "manta.cli.node", "--config", str(path)))


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket; ServiceUnavailable when the address is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ServiceUnavailable(f"{host}:{port} cannot be used ({error.strerror}): choose another --port.") from None
    listener.listen(BACKLOG)
    return listener


def _listen_unix(path: Path) -> socket.socket:
    """The nodes' way to the gateway. Only the supervisor that holds the directory's lock makes it."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(BACKLOG)
    return listener


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
