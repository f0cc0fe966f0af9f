"""How fast do jobs start and run? Client, store and tasks share this machine.

python -m benchmarks.jobs [--runs 5] [--postgres] [--tcp-nodes] [--lanes N] [--only trivial,pair,noop,wordcount]
"""

import argparse
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.catalogs import catalog_options
from benchmarks.load import Plan, Target, run
from benchmarks.report import Figure, percentile, show
from manta.sdk import Store
from tests.support.store import RunningStore, running_store

MIB = 1024 * 1024
NOOP_OBJECTS = 10_000
NOOP_BATCH = 64
TEXT_OBJECTS = 128
TEXT_BYTES = 8 * MIB
SMALL_JOBS = 200


class Bench:
    """The questions, asked of one running store."""

    def __init__(self, running: RunningStore, store: Store, folder: Path, runs: int) -> None:
        self.running = running
        self.store = store
        self.folder = folder
        self.runs = runs
        self.target = Target(running.url, running.access_key, running.secret_key)

    def trivial(self) -> list[Figure]:
        """One small object, one map, one reduce: from submission to the answer in the client's hands."""
        self.store.make_bucket("trivial")
        self.store.write("s3://trivial/word", b"moon\n")
        return self._small_jobs(
            "trivial job",
            (150, 400),
            lambda: self.store.objects("s3://trivial/word").sh("wc -l", reduce="cat").text(),
            "1\n",
        )

    def pair(self) -> list[Figure]:
        """Two small objects, two maps and one reduce."""
        self.store.make_bucket("pair")
        for name in ("earth", "moon"):
            self.store.write(f"s3://pair/{name}", name.encode() + b"\n")
        return self._small_jobs(
            "2 maps + 1 reduce",
            (400, None),
            lambda: self.store.objects("s3://pair/").sh("cat", reduce="sort").text(),
            "earth\nmoon\n",
        )

    def _small_jobs(
        self, name: str, targets_ms: tuple[float, float | None], answer: Callable[[], str], expected: str
    ) -> list[Figure]:
        """The same small job again and again, the first ones not counted: p50 and p99, and what is asked of them."""
        times: list[float] = []
        for number in range(SMALL_JOBS + 3):
            started = time.perf_counter()
            given = answer()
            if number >= 3:
                times.append((time.perf_counter() - started) * 1000)
            assert given == expected, given
        note = f"{SMALL_JOBS} jobs"
        p50, p99 = targets_ms
        return [
            Figure(f"{name}, submit to answer, p50", "ms", times, p50, lower_is_better=True, note=note),
            Figure(f"{name}, submit to answer, p99", "ms", [percentile(times, 0.99)], p99, lower_is_better=True),
        ]

    def noop(self) -> list[Figure]:
        """`true` once for each of 10,000 objects of 4 KiB, one by one and in batches; the time of the whole job."""
        self.store.make_bucket("noop")
        paths = [f"/noop/{number:05d}" for number in range(NOOP_OBJECTS)]
        run(self.target, Plan("PUT", paths, os.urandom(4096)), 32)
        rates: dict[int, list[float]] = {1: [], NOOP_BATCH: []}
        for _ in range(self.runs):
            for batch, measured in rates.items():
                started = time.perf_counter()
                job = self.store.submit([{"type": "map", "exec": "true", "batch": batch}], inputs=["s3://noop/"])
                status = job.wait()
                measured.append(NOOP_OBJECTS / (time.perf_counter() - started))
                assert (status.outputs, status.errors) == (NOOP_OBJECTS, 0), status
                job.delete()
        return [
            Figure("no-op map over 10,000 objects of 4 KiB", "tasks/s", rates[1], 1000),
            Figure(f"the same in batches of {NOOP_BATCH}", "inputs/s", rates[NOOP_BATCH]),
        ]

    def wordcount(self) -> list[Figure]:
        """Word count over 1 GiB in 128 objects, against `xargs -P2 wc -w` on the same files, in turn."""
        texts = self.folder / "texts"
        texts.mkdir()
        _write_texts(texts)
        self.store.make_bucket("texts")
        for path in sorted(texts.iterdir()):
            with path.open("rb") as file:
                self.store.upload(file, f"s3://texts/{path.name}")
        os.sync()  # else the kernel writes the texts back meanwhile, and whoever syncs anything waits for them
        ours: list[float] = []
        theirs: list[float] = []
        for number in range(self.runs + 1):
            local, expected = _timed(lambda: _xargs(texts))
            store, answer = _timed(self._count_words)
            assert answer == expected, (answer, expected)
            if number:
                ours.append(store)
                theirs.append(local)
        ratios = [store / local for store, local in zip(ours, theirs, strict=True)]
        return [
            Figure("word count over 1 GiB, xargs -P2 wc -w", "s", theirs),
            Figure("word count over 1 GiB, as a job", "s", ours),
            Figure("word count, job / xargs", "ratio", ratios, 1.1, lower_is_better=True),
        ]

    def _count_words(self) -> int:
        return int(self.store.objects("s3://texts/").sh("wc -w", reduce="awk '{n+=$1} END {print n}'").text())


def _xargs(folder: Path) -> int:
    command = "ls | xargs -P2 -n1 wc -w | awk '{n+=$1} END {print n}'"
    return int(subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, check=True).stdout)


def _timed(action: Callable[[], int]) -> tuple[float, int]:
    started = time.perf_counter()
    value = action()
    return time.perf_counter() - started, value


def _write_texts(folder: Path) -> None:
    """Lines of words like a book's, the same at every run."""
    dice = random.Random(1)
    words = ["".join(dice.choices("etaoinshrdlu", k=dice.randint(1, 9))) for _ in range(5000)]
    for number in range(TEXT_OBJECTS):
        page = "".join(" ".join(dice.choices(words, k=12)) + "\n" for _ in range(2000)).encode()
        text = page * (TEXT_BYTES // len(page) + 1)
        (folder / f"{number:03d}.txt").write_bytes(text[:TEXT_BYTES])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--postgres", action="store_true", help="catalog on a PostgreSQL of its own, with fsync")
    parser.add_argument("--tcp-nodes", action="store_true", help="gateway and node apart, over TCP")
    parser.add_argument("--lanes", help="tasks side by side on the node")
    parser.add_argument("--only", default="trivial,pair,noop,wordcount")
    options = parser.parse_args()
    serve = [*(["--tcp-nodes"] if options.tcp_nodes else []), *(["--lanes", options.lanes] if options.lanes else [])]
    with (
        catalog_options(postgres=options.postgres) as catalog,
        tempfile.TemporaryDirectory(prefix="manta-bench-") as name,
        running_store(Path(name) / "store", *serve, *catalog) as running,
        running.client() as store,
    ):
        bench = Bench(running, store, Path(name), options.runs)
        questions = {
            "trivial": bench.trivial,
            "pair": bench.pair,
            "noop": bench.noop,
            "wordcount": bench.wordcount,
        }
        figures = [figure for question in options.only.split(",") for figure in questions[question]()]
    where = "gateway and node apart, over TCP" if options.tcp_nodes else "gateway and node on one machine"
    show(f"Jobs: {where}, catalog on {'PostgreSQL' if options.postgres else 'SQLite'}", figures)


if __name__ == "__main__":
    main()
