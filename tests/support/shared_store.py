"""One running store for all tests of a module, and its root account's client."""

from collections.abc import Iterator
from typing import Any

import pytest

from manta.sdk import Store
from tests.support.store import RunningStore, running_store


def shared_store(*options: str) -> Any:
    """For `running = shared_store("--nodes", "3")`."""

    @pytest.fixture(scope="module", name="running")
    def fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
        with running_store(tmp_path_factory.mktemp("store"), *options) as running:
            yield running

    return fixture


@pytest.fixture(scope="module")
def store(running: RunningStore) -> Iterator[Store]:
    with running.client() as client:
        yield client
