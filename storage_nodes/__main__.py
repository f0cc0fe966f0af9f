"""A storage node alone, without an agent: `python -m storage_nodes CONFIG.json`."""

import asyncio
import sys
from pathlib import Path

from manta.core.config import NodeConfig, load
from manta.core.errors import MantaError
from storage_nodes.server.daemon import run_storage


def main() -> int:
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m storage_nodes CONFIG.json\n")
        return 2
    try:
        asyncio.run(run_storage(load(Path(sys.argv[1]), NodeConfig)))
    except MantaError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
