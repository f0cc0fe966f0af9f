"""Does memory stay flat however many tasks a job has? Resident memory of gateway and nodes, sampled each second (J7).

python -m benchmarks.scale [--full | --tasks 10000,100000] [--objects 10000] [--postgres]

Each job maps `true` over the same few objects, named as often as it takes. The first number of tasks is the base that
the growth is measured from. `--full` goes to 1,000,000 tasks, which take about half an hour on two cores.
"""

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.catalogs import catalog_options
from benchmarks.load import Plan, Target, run
from benchmarks.report import Figure, show
from manta.sdk import Store
from tests.support.resident import resident_bytes
from tests.support.store import RunningStore, running_store

MIB = 1024 * 1024
GROWTH_MAX_MIB = 100 * 1_000_000 / MIB
SOME, ALL = "10000,100000", "10000,1000000"
SAMPLE_S = 1.0


@contextmanager
def sampled(processes: Mapping[str, int]) -> Iterator[dict[str, list[float]]]:
    """MiB held by each process, each second within the block."""
    samples: dict[str, list[float]] = {name: [] for name in processes}
    done = threading.Event()

    def sample() -> None:
        while True:
            for name, pid in processes.items():
                samples[name].append(resident_bytes(pid) / MIB)
            if done.wait(SAMPLE_S):
                return

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()


def one_job(running: RunningStore, store: Store, objects: int, tasks: int) -> tuple[float, dict[str, list[float]]]:
    """Tasks per second of one job, its outputs read to the end, and the memory meanwhile; it is removed after that."""
    with sampled(running.children()) as samples:
        started = time.perf_counter()
        job = store.submit([{"type": "map", "exec": "true"}], inputs=["s3://scale/"] * (tasks // objects))
        status = job.wait()
        took_s = time.perf_counter() - started
        assert (status.state, status.inputs, status.outputs, status.errors) == ("done", tasks, tasks, 0), status
        assert sum(1 for _ in job.outputs()) == tasks
        job.delete()
    return tasks / took_s, samples


def measure(running: RunningStore, store: Store, objects: int, sizes: list[int]) -> list[Figure]:
    store.make_bucket("scale")
    paths = [f"/scale/{number:05d}" for number in range(objects)]
    run(Target(running.url, running.access_key, running.secret_key), Plan("PUT", paths, os.urandom(64)), 32)
    figures: list[Figure] = []
    base: dict[str, float] = {}
    for tasks in sizes:
        rate, samples = one_job(running, store, objects, tasks)
        figures.append(Figure(f"no-op map of {tasks:,} tasks", "tasks/s", [rate]))
        for name, held in sorted(samples.items()):
            figures.append(Figure(f"{name} while it runs, at most", "MiB", [max(held)], lower_is_better=True))
            grown = max(held) - base.setdefault(name, max(held))
            if tasks != sizes[0]:
                what = f"{name}, growth from {sizes[0]:,} to {tasks:,} tasks"
                figures.append(Figure(what, "MiB", [grown], GROWTH_MAX_MIB, lower_is_better=True))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=SOME)
    parser.add_argument("--full", dest="tasks", action="store_const", const=ALL, help=f"--tasks {ALL}")
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--postgres", action="store_true", help="catalog on a PostgreSQL of its own, with fsync")
    options = parser.parse_args()
    sizes = [int(text) for text in options.tasks.split(",")]
    with (
        catalog_options(postgres=options.postgres) as catalog,
        tempfile.TemporaryDirectory(prefix="manta-bench-") as name,
        running_store(Path(name) / "store", *catalog) as running,
        running.client() as store,
    ):
        figures = measure(running, store, min(options.objects, *sizes), sizes)
    show(f"Scale, catalog on {'PostgreSQL' if options.postgres else 'SQLite'}", figures)


if __name__ == "__main__":
    main()
