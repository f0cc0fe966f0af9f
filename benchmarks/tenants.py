"""Do tenants disturb each other, and does a cancelled job end? Client, store and tasks share this machine.

python -m benchmarks.tenants [--runs 40] [--postgres]
"""

import argparse
import secrets
import tempfile
import time
from pathlib import Path

from benchmarks.catalogs import catalog_options
from benchmarks.report import Figure, percentile, show
from manta.sdk import Job, Store, connect
from tests.support.store import RunningStore, running_store
from tests.support.traces import marked

BIG_TASKS = 50_000
CANCELLED_TASKS = 1_000
CANCELS = 5
LANES = 2


def small_beside_big(running: RunningStore, store: Store, runs: int) -> list[Figure]:
    """Three tasks of one account while another's 50,000 tasks of 50 ms hold both lanes."""
    running.manta("account", "create", "neighbour", "--access-key", "NEIGHBOURKEY", "--secret-key", "n" * 40)
    big = _many(store, "sleep 0.05", BIG_TASKS)
    times: list[float] = []
    with connect(running.url, "NEIGHBOURKEY", "n" * 40) as neighbour:
        neighbour.make_bucket("neighbour")
        names = [f"s3://neighbour/{name}" for name in "abc"]
        for name in names:
            neighbour.write(name, b"x\n")
        while not big.status().phases[0].tasks.committed:
            time.sleep(0.1)
        for _ in range(runs):
            started = time.perf_counter()
            status = neighbour.submit([{"type": "map", "exec": "true"}], inputs=names).wait()
            times.append(time.perf_counter() - started)
            assert (status.outputs, status.errors) == (3, 0), status
    counts = big.status().phases[0].tasks
    assert counts.ready + counts.running > 0, "the big job ended too early to be in the way"
    big.cancel()
    big.wait()
    p95 = percentile(times, 0.95)
    note = f"p50 {percentile(times, 0.5) * 1000:.0f} ms, max {max(times) * 1000:.0f} ms, {runs} jobs"
    return [Figure("3 tasks beside 50,000, p95", "s", [p95], 1.0, lower_is_better=True, note=note)]


def cancel(store: Store) -> list[Figure]:
    """From the call to cancel until the job is cancelled and no process of its tasks is left."""
    times: list[float] = []
    for _ in range(CANCELS):
        mark = secrets.token_hex(8)
        job = _many(store, "sleep 3600", CANCELLED_TASKS, mark)
        while job.status().phases[0].tasks.running < LANES or not marked(mark):
            time.sleep(0.02)
        started = time.perf_counter()
        job.cancel()
        status = job.wait()
        while marked(mark):
            time.sleep(0.005)
        times.append(time.perf_counter() - started)
        assert (status.state, status.errors) == ("cancelled", CANCELLED_TASKS), status
    return [Figure("cancel of 1,000 tasks, to the end of the last process", "s", times, 2.0, lower_is_better=True)]


def _many(store: Store, command: str, tasks: int, mark: str = "") -> Job:
    """A job that runs `command` so many times, over one object; `mark` is in its processes' environment."""
    store.make_bucket("many", exist_ok=True)
    store.write("s3://many/one", b"x\n")
    job = store.submit([{"type": "map", "exec": command, "env": {"MARK": mark}}], end=False)
    job.add("s3://many/one" for _ in range(tasks))
    job.end()
    return job


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--postgres", action="store_true", help="catalog on a PostgreSQL of its own, with fsync")
    options = parser.parse_args()
    with (
        catalog_options(postgres=options.postgres) as catalog,
        tempfile.TemporaryDirectory(prefix="manta-bench-") as name,
        running_store(Path(name) / "store", "--lanes", str(LANES), *catalog) as running,
        running.client() as store,
    ):
        figures = [*small_beside_big(running, store, options.runs), *cancel(store)]
    show(f"Tenants, {LANES} lanes, catalog on {'PostgreSQL' if options.postgres else 'SQLite'}", figures)


if __name__ == "__main__":
    main()
