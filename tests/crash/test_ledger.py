"""Every process is killed at random under load, and nothing acknowledged is lost or wrong (D1, D3)."""

import os
import random
import signal
from pathlib import Path

import pytest

from benchmarks.load import Target
from tests.support.ledger import Ledger
from tests.support.store import running_store

KILLS = 50
SEED = 20261122


@pytest.mark.slow
@pytest.mark.invariant("D1", "D3")
def test_fifty_kills_under_load_lose_nothing(tmp_path: Path) -> None:
    dice = random.Random(SEED)
    with running_store(tmp_path, "--nodes", "3", "--copies", "2", "--lanes", "0") as store:
        with store.client() as client:
            client.make_bucket("ledger")
        ledger = Ledger(Target(store.url, store.access_key, store.secret_key), "ledger")
        with ledger:
            for _ in range(KILLS):
                ledger.await_progress(dice.randint(1, 30))
                store.kill_one(dice)
            ledger.await_progress(30)
        assert ledger.audit() == []
    with running_store(tmp_path, "--lanes", "0") as store:
        ledger.target = Target(store.url, store.access_key, store.secret_key)
        assert ledger.audit() == []


@pytest.mark.slow
@pytest.mark.invariant("D1", "D3")
def test_killing_everything_at_once_loses_nothing(tmp_path: Path) -> None:
    """The whole store, supervisor included, several times over, as when a machine's init dies."""
    dice = random.Random(SEED + 1)
    ledger: Ledger | None = None
    for _ in range(6):
        with running_store(tmp_path, "--nodes", "2", "--copies", "2", "--lanes", "0") as store:
            target = Target(store.url, store.access_key, store.secret_key)
            if ledger is None:
                with store.client() as client:
                    client.make_bucket("ledger")
                entries = {}
            else:
                ledger.target = target
                assert ledger.audit() == []
                entries = ledger.entries
            ledger = Ledger(target, "ledger")
            ledger.entries = entries
            with ledger:
                ledger.await_progress(dice.randint(20, 200))
                pids = [store.process.pid, *store.children().values()]
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
                store.process.wait()
            assert ledger.wrong == []
