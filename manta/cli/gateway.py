"""`manta gateway`: the S3 and jobs API of a cluster, or of `manta serve`."""

import asyncio
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from manta.core.config import GatewayConfig, load
from manta.core.logs import log_to_stderr
from manta.core.process import attach_to_supervisor
from manta.gateway.main import run_gateway


def gateway(config: Annotated[Path, typer.Option(help="JSON file, see docs/operations.md.", exists=True)]) -> None:
    """Run one gateway until SIGTERM, which lets open requests finish."""
    log_to_stderr()
    ready_fd = attach_to_supervisor()
    settings = load(config, GatewayConfig, supervised=ready_fd is not None)
    asyncio.run(run_gateway(msgspec.structs.replace(settings, ready_fd=ready_fd or settings.ready_fd)))


if __name__ == "__main__":
    typer.run(gateway)
