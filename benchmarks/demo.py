"""`make demo`: a store with 3 nodes and 2 copies, real text, three map/reduce jobs, each checked against coreutils.

The text is every `.py` file of the running Python's standard library. The store is started, used by the client that
users have, and stopped; nothing stays.
"""

import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from jobs.sandbox import probe
from manta.cli.output import size_text
from manta.sdk import Store
from manta.sdk.jobs import JobStatus
from tests.support.store import running_store

BUCKET = "python"
WORDS = "tr -cs A-Za-z '\\n' | grep ."
TOP = "LC_ALL=C sort -k1,1nr -k2 | head -30"
console = Console(highlight=False)


@dataclass(frozen=True)
class Question:
    """A job and the pipeline that gives the same answer with the files at hand. `local` runs in the corpus folder."""

    title: str
    map: str
    reduce: str
    local: str


QUESTIONS = (
    Question(
        "Lines, words and bytes of everything",
        "wc",
        "awk '{l+=$1; w+=$2; b+=$3} END {print l, w, b}'",
        "find . -name '*.py' -type f -print0 | xargs -0 cat | wc | awk '{print $1, $2, $3}'",
    ),
    Question(
        "The 30 commonest words",
        f"{WORDS} | LC_ALL=C sort | uniq -c",
        f"awk '{{n[$2]+=$1}} END {{for (w in n) print n[w], w}}' | {TOP}",
        f"find . -name '*.py' -type f -print0 | xargs -0 cat | {WORDS} | LC_ALL=C sort | uniq -c"
        f" | awk '{{print $1, $2}}' | {TOP}",
    ),
    Question(
        "Lines by top-level package",
        'key=${MANTA_INPUT_OBJECT#*/}; echo "${key%%/*} $(wc -l)"',
        "awk '{n[$1]+=$2} END {for (p in n) print n[p], p}' | LC_ALL=C sort -k1,1nr -k2",
        "find . -name '*.py' -type f -printf '%P\\n'"
        ' | while IFS= read -r f; do echo "${f%%/*} $(wc -l < "$f")"; done'
        " | awk '{n[$1]+=$2} END {for (p in n) print n[p], p}' | LC_ALL=C sort -k1,1nr -k2",
    ),
)


def corpus(folder: Path) -> int:
    """Copy every `.py` file of the standard library below `folder`; how many there are."""
    library = Path(sysconfig.get_paths()["stdlib"])
    count = 0
    for source in sorted(library.rglob("*.py")):
        relative = source.relative_to(library)
        if relative.parts[0] in ("site-packages", "dist-packages") or not source.is_file():
            continue
        target = folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
        count += 1
    return count


def upload(store: Store, folder: Path) -> int:
    """Put every file under its relative name; the bytes put."""

    def put(path: Path) -> int:
        data = path.read_bytes()
        store.write(f"s3://{BUCKET}/{path.relative_to(folder).as_posix()}", data)
        return len(data)

    store.make_bucket(BUCKET)
    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(put, (path for path in folder.rglob("*.py"))))


def local_answer(question: Question, folder: Path) -> str:
    run = subprocess.run(["bash", "-c", question.local], cwd=folder, capture_output=True, text=True, check=True)
    return run.stdout


def ask(store: Store, question: Question) -> tuple[str, JobStatus, float]:
    """The job's answer, its final status and the seconds from submission to the answer in hand."""
    started = time.perf_counter()
    result = store.objects(f"s3://{BUCKET}/").sh(question.map, reduce=question.reduce, name=question.title)
    answer = result.text()
    return answer, result.job.status(), time.perf_counter() - started


def side_by_side(question: Question, answer: str, expected: str) -> Table:
    table = Table(title=question.title, title_justify="left", min_width=60)
    table.add_column("the store's answer")
    table.add_column("coreutils'")
    pairs = list(zip(answer.splitlines(), expected.splitlines(), strict=False))
    for ours, theirs in pairs[:30]:
        table.add_row(ours, theirs)
    if len(pairs) > 30:
        table.add_row(f"… {len(pairs) - 30} more lines", "")
    return table


def answers(store: Store, folder: Path) -> Iterator[bool]:
    """Ask each question, print both answers and the figures; whether they were equal and nothing was moved."""
    for question in QUESTIONS:
        answer, status, seconds = ask(store, question)
        expected = local_answer(question, folder)
        console.print(side_by_side(question, answer, expected))
        tasks = sum(phase.tasks.finished for phase in status.phases)
        equal = answer == expected
        console.print(
            f"[{'green' if equal else 'red'}]{'equal' if equal else 'NOT EQUAL'}[/] · {seconds:.2f} s · "
            f"{tasks} tasks, {tasks / seconds:,.0f} tasks/s · {size_text(status.input_bytes_in_place)} read in place · "
            f"{status.input_bytes_moved} bytes of input moved between nodes\n"
        )
        yield equal and status.input_bytes_moved == 0 and status.errors == 0


def sandbox_is_possible() -> bool:
    """Whether tasks can run here; what is missing is printed with its remedy."""
    missing = [finding for finding in probe() if finding.required and not finding.ok]
    for finding in missing:
        console.print(f"[red]No sandbox can be built here: {finding.what}: {finding.seen}.[/]\n{finding.remedy}")
    return not missing


def main() -> int:
    if not sandbox_is_possible():
        return 1
    with tempfile.TemporaryDirectory(prefix="manta-demo-") as temporary:
        folder = Path(temporary)
        # The sandbox of an ordinary user enters this folder from another user namespace.
        folder.chmod(0o755)
        texts = folder / "texts"
        count = corpus(texts)
        console.print("Starting a store with 3 nodes and 2 copies of each object …")
        with running_store(folder / "store", "--nodes", "3", "--copies", "2") as running, running.client() as store:
            started = time.perf_counter()
            size = upload(store, texts)
            console.print(
                f"Uploaded {count} files of Python's standard library, {size_text(size)}, twice each, "
                f"in {time.perf_counter() - started:.1f} s to {running.url}\n"
            )
            good = all(list(answers(store, texts)))
    console.print("[green]All answers are equal.[/]" if good else "[red]Something differs: see above.[/]")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
