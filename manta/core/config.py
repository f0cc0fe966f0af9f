"""What a process is told at its start. Read from a JSON file (mode 0600: it holds keys), checked by msgspec."""

import os
from pathlib import Path
from typing import TypeVar

import msgspec

from manta.core.errors import InvalidArgument
from manta.core.limits import DAY_S, JOB_EXPIRY_S


class TlsFiles(msgspec.Struct, frozen=True):
    certificate: str
    private_key: str


class GatewayConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`catalog` is `sqlite:/path/catalog.db` or `postgresql://…`.

    `listen_fd` is a socket inherited from the supervisor; a line is written to `ready_fd` once requests are accepted.
    Jobs are removed with their outputs `job_expiry_days` after their end.
    """

    catalog: str
    copies: int = 1
    host: str = "127.0.0.1"
    port: int = 7070
    listen_fd: int | None = None
    control_fd: int | None = None
    """A second inherited listening socket (Unix): the nodes' calls come in by it, whatever the first one speaks."""
    ready_fd: int | None = None
    admin_port: int | None = None
    domain: str | None = None
    region: str = "us-east-1"
    tls: TlsFiles | None = None
    log_dir: str | None = None
    machine_id: str = ""
    direct_reads: bool = True
    job_expiry_days: float = JOB_EXPIRY_S / DAY_S


def default_lanes(nodes: int = 1) -> int:
    """Tasks side by side on each of `nodes` of this machine: its share of the cores and two, so that no core falls idle
    while one task ends and the next begins."""
    return len(os.sched_getaffinity(0)) // nodes + 2


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`listen` is `unix:/path` or `http://host:port`; `key` (hex) is shared with the gateways alone.

    `gateways` are the base URLs the agent polls (http://host:port or unix:/path).
    `lanes` tasks run side by side (by default two more than the cores); with 0 there is no agent. `sandbox` is what
    builds the zones, `bubblewrap` or `oci`; `runtime` is the OCI runtime's path or name, else runc.
    Tasks may use `memory_bytes` and `cpus` together, by default all cpus and this node's share of the memory of a
    machine with `nodes_here` nodes.
    """

    node_id: str
    data_dir: str
    key: str
    listen: str
    gateways: tuple[str, ...] = ()
    lanes: int = msgspec.field(default_factory=default_lanes)
    sandbox: str = "bubblewrap"
    runtime: str | None = None
    memory_bytes: int | None = None
    cpus: float | None = None
    nodes_here: int = 1
    ready_fd: int | None = None
    journal: bool = True


Config = TypeVar("Config", GatewayConfig, NodeConfig)


def load(path: Path, kind: type[Config], *, supervised: bool = False) -> Config:
    """The configuration in that file; InvalidArgument names what is wrong with it.

    A name that means nothing is refused, lest a misspelt `copies` be one copy; but not where a supervisor wrote the
    file, which may be of another version.
    """
    try:
        content = path.read_bytes()
        config = msgspec.json.decode(content, type=kind)
    except OSError as error:
        raise InvalidArgument(f"The configuration {path} cannot be read: {error.strerror}.") from None
    except msgspec.DecodeError as error:
        raise InvalidArgument(f"The configuration {path} is not valid: {error}.") from None
    known = kind.__struct_fields__
    unknown = set() if supervised else set(msgspec.json.decode(content)) - set(known)
    if unknown:
        raise InvalidArgument(
            f"The configuration {path} has {', '.join(sorted(unknown))}, which means nothing: known are "
            f"{', '.join(known)}."
        )
    return config


def save(path: Path, config: GatewayConfig | NodeConfig) -> None:
    """Write it readable by its owner only."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(config)))
