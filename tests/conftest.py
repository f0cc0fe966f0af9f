"""What every test stands on: no credentials or endpoints from outside, and a store of its own where it wants one."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.postgres import postgres_server, postgres_url  # noqa: F401  fixtures
from tests.support.store import RunningStore, running_store

for _name in [name for name in os.environ if name.startswith(("AWS_", "MANTA_", "PYTHON"))]:
    del os.environ[_name]
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background: children would ignore it too
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull

settings.register_profile("manta", deadline=None, print_blob=True)  # the machine may be busy: no timed asserts
settings.load_profile("manta")

Serve = Callable[..., RunningStore]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start a store: `serve("--nodes", "3")`. It is stopped when the test ends."""
    with ExitStack() as stack:

        def start(*options: str, name: str = "store") -> RunningStore:
            return stack.enter_context(running_store(tmp_path / name, *options))

        yield start
