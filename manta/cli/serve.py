"""`manta serve`: the embedded store on this machine, from nothing to `ready` with no configuration."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from jobs.sandbox import cgroups
from jobs.sandbox.building.builders import builder_choice
from jobs.sandbox.probe import probe, refuse_if_missing
from manta.catalog.open import open_catalog
from manta.catalog.records import Node, NodeState
from manta.cli import output
from manta.core.clock import SystemClock
from manta.core.config import TlsFiles, default_lanes
from manta.core.errors import InvalidArgument, MantaError, SandboxUnavailable
from manta.core.limits import DAY_S, JOB_EXPIRY_S
from manta.gateway.bootstrap import ensure_root, register_nodes
from manta.supervisor.data_dir import DataDir, RootKeys, Settings, write_private
from manta.supervisor.supervisor import NodePlan, ServeOptions, Supervisor, plan_nodes

_HINTS = """\
[bold]manta[/] stores objects in {data} ({nodes} node{s}, {copies} cop{ies} of each)

  endpoint    {url}
  credentials {credentials}

[dim]# shell: aws, s5cmd, boto3 and manta itself read these[/]
export AWS_ENDPOINT_URL_S3={url}
export AWS_SHARED_CREDENTIALS_FILE={credentials}
export AWS_REGION={region}

[dim]# python[/]
boto3.client("s3", endpoint_url="{url}", region_name="{region}")

[dim]# rclone[/]
rclone ls --s3-provider Other --s3-env-auth --s3-endpoint {url} :s3:BUCKET

[dim]# curl[/]
curl --aws-sigv4 aws:amz:{region}:s3 -u ACCESS_KEY:SECRET_KEY -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' {url}/
"""


def serve(
    data: Annotated[Path, typer.Option(help="Folder that holds everything the store keeps.")] = Path("manta-data"),
    nodes: Annotated[int | None, typer.Option(min=1, max=64, help="Storage nodes; grows only. Default 1.")] = None,
    copies: Annotated[int | None, typer.Option(min=1, max=8, help="Copies of each object. Default 1.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.")] = 7070,
    lanes: Annotated[
        int | None,
        typer.Option(min=0, max=256, help="Tasks side by side on each node; 0: none. Default: its cores and two."),
    ] = None,
    catalog: Annotated[str | None, typer.Option(help="postgresql://… instead of SQLite in the data folder.")] = None,
    domain: Annotated[str | None, typer.Option(help="Also serve virtual-host style BUCKET.DOMAIN.")] = None,
    region: Annotated[str, typer.Option(help="Region that clients must sign for.")] = "us-east-1",
    job_expiry_days: Annotated[
        float, typer.Option(min=0.01, max=36500, help="Ended jobs are removed with their outputs after this.")
    ] = JOB_EXPIRY_S / DAY_S,
    tls_cert: Annotated[Path | None, typer.Option(exists=True, help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(exists=True, help="Private key, PEM.")] = None,
    admin_port: Annotated[int | None, typer.Option(help="Port of Prometheus metrics on loopback.")] = None,
    tcp_nodes: Annotated[bool, typer.Option(help="Reach nodes over loopback TCP, as in a cluster.")] = False,
    sandbox: Annotated[str, typer.Option(help="What builds the zones of tasks: bubblewrap or oci.")] = "bubblewrap",
    runtime: Annotated[str | None, typer.Option(help="The OCI runtime, by path or name. Default runc.")] = None,
    journal: Annotated[bool, typer.Option(help="Make small objects durable in a journal first (faster).")] = True,
) -> None:
    """Run the embedded store until SIGTERM or Ctrl-C. SIGHUP replaces the gateway without a refused request."""
    if (tls_cert is None) != (tls_key is None):
        raise InvalidArgument("TLS needs both --tls-cert and --tls-key.")
    tls = TlsFiles(str(tls_cert.absolute()), str(tls_key.absolute())) if tls_cert and tls_key else None
    builder_choice(sandbox, runtime)  # a refusal here is read by whoever types
    folder = DataDir(data)
    folder.acquire()
    settings = folder.settings(nodes, copies)
    options = ServeOptions(
        host=host,
        port=port,
        catalog_url=catalog or f"sqlite:{folder.catalog}",
        lanes=default_lanes(len(settings.nodes)) if lanes is None else lanes,
        domain=domain,
        region=region,
        job_expiry_days=job_expiry_days,
        tls=tls,
        admin_port=admin_port,
        tcp_nodes=tcp_nodes,
        journal=journal,
        sandbox=sandbox,
        runtime=runtime,
    )
    asyncio.run(_serve(folder, settings, options))


async def _serve(data: DataDir, settings: Settings, options: ServeOptions) -> None:
    stop = asyncio.Event()
    replace = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, replace.set)
    # On pure cgroup v2 this process steps aside, so that each node may make groups with limits for its tasks.
    cgroups.settle()
    no_jobs = await asyncio.to_thread(_why_no_jobs, options) if options.lanes else ""
    plans = plan_nodes(data, settings, tcp=options.tcp_nodes)
    await _prepare_catalog(options.catalog_url, data.root_keys(), settings, plans)
    supervisor = Supervisor(data, settings, options)
    try:
        await supervisor.start(plans)
        if no_jobs:
            print(f"warning: objects are served, but no job runs here: {no_jobs}", file=sys.stderr)
        _announce(data, settings, options, supervisor.url)
        await _until_stopped(supervisor, stop, replace)
    finally:
        print("stopping: open requests are finished first …", file=sys.stderr)
        await supervisor.stop()
        data.release()
        print("stopped", file=sys.stderr)


async def _until_stopped(supervisor: Supervisor, stop: asyncio.Event, replace: asyncio.Event) -> None:
    while not stop.is_set():
        waits = [asyncio.create_task(event.wait()) for event in (stop, replace)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if replace.is_set() and not stop.is_set():
            replace.clear()
            try:
                await supervisor.replace_gateway()
            except MantaError as error:
                print(f"The gateway was not replaced: {error.message}", file=sys.stderr)


async def _prepare_catalog(url: str, keys: RootKeys, settings: Settings, plans: list[NodePlan]) -> None:
    """Root account and nodes are in the catalog before any process needs them."""
    clock = SystemClock()
    catalog = await open_catalog(url, clock)
    try:
        await ensure_root(catalog, keys.access_key, keys.secret_key)
        await register_nodes(catalog, [_node(plan, settings, int(clock.wall_s() * 1000)) for plan in plans])
    finally:
        await catalog.close()


def _node(plan: NodePlan, settings: Settings, now_ms: int) -> Node:
    return Node(
        node_id=plan.node_id,
        url=plan.url,
        key=bytes.fromhex(plan.key),
        machine_id=settings.machine_id,
        volume=str(plan.folder),
        state=NodeState.ACTIVE,
        registered_ms=now_ms,
    )


def _why_no_jobs(options: ServeOptions) -> str:
    """What this machine lacks for a sandbox; the nodes will try again at times."""
    try:
        refuse_if_missing(probe(builder_choice(options.sandbox, options.runtime)))
    except SandboxUnavailable as error:
        return str(error)
    return ""


def _announce(data: DataDir, settings: Settings, options: ServeOptions, url: str) -> None:
    """Tell people how to use it, other commands on this machine where it is, and scripts that it is ready."""
    count = len(settings.nodes)
    output.console().print(
        _HINTS.format(
            data=data.path,
            nodes=count,
            s="" if count == 1 else "s",
            copies=settings.copies,
            ies="y" if settings.copies == 1 else "ies",
            url=url,
            credentials=data.credentials,
            region=options.region,
        )
    )
    remember_store(url, data.credentials, options.region)
    print(f"ready {url}", flush=True)


def remember_store(url: str, credentials: Path, region: str) -> None:
    """Where `manta.sdk` looks when nothing else tells it: the store that was last started here."""
    base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    folder = base / "manta"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = f"url={url}\ncredentials={credentials}\nregion={region}\nstarted={time.time():.0f}\n"
    write_private(folder / "last-store", text.encode())
