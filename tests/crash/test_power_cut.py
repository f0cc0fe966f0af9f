"""The whole store loses its power under load: catalog and volumes on a disk of their own (D2)."""

import os
import signal
from pathlib import Path

import pytest

from benchmarks.load import Target
from tests.support.ledger import Ledger
from tests.support.loop_disk import loop_disk, needs_disk
from tests.support.processes import alive, descendants
from tests.support.store import RunningStore, running_store
from tests.support.waiting import await_condition

ROUNDS = 4
DISK_BYTES = 2 << 30


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.invariant("D2", "D3")
@needs_disk
@pytest.mark.parametrize("options", [(), ("--no-journal",)], ids=["journal", "plain"])
def test_nothing_acknowledged_is_lost_with_the_power(tmp_path: Path, options: tuple[str, ...]) -> None:
    with loop_disk(tmp_path, DISK_BYTES) as disk:
        data = disk.folder / "data"
        ledger: Ledger | None = None
        for _ in range(ROUNDS):
            with running_store(tmp_path, "--nodes", "2", "--copies", "2", "--lanes", "0", *options, data=data) as store:
                ledger = _go_on(store, ledger)
                with ledger:
                    ledger.await_progress(150)
                    ledger.doubt()
                    disk.cut_power()
                    _kill_everything(store)
                assert ledger.wrong == []
            disk.unmount()
            disk.mount()
        with running_store(tmp_path, "--lanes", "0", *options, data=data) as store:
            assert _go_on(store, ledger).wrong == []


def _go_on(store: RunningStore, before: Ledger | None) -> Ledger:
    """A ledger for this run that remembers what the one before was told; everything of it is read first."""
    target = Target(store.url, store.access_key, store.secret_key)
    ledger = Ledger(target, "ledger")
    if before is None:
        with store.client() as client:
            client.make_bucket("ledger")
        return ledger
    ledger.entries = before.entries
    assert ledger.audit() == []
    return ledger


def _kill_everything(store: RunningStore) -> None:
    """Every process, and none of them may hold a file of the disk afterwards.

    The supervisor stands still first: what it starts anew just then would be in no list.
    """
    store.process.send_signal(signal.SIGSTOP)
    pids = {store.process.pid, *descendants(store.process.pid)}
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    store.process.wait()
    await_condition(lambda: not any(alive(pid) for pid in pids), "every process to end")
