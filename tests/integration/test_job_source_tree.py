"""Acceptance case 3: line count by extension over a source tree of several thousand files."""

import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.store import running_store

pytestmark = pytest.mark.slow
FILES_MIN, FILES_MAX = 2_000, 5_000
_BY_EXTENSION = "awk '{n[$1]+=$2} END {for (e in n) print e, n[e]}' | LC_ALL=C sort"


def _tree() -> dict[str, Path]:
    """Source files of Python and of what is installed beside it, by key."""
    paths = sysconfig.get_paths()
    found: dict[str, Path] = {}
    for root in (Path(paths["stdlib"]), Path(paths["purelib"])):
        for path in sorted(root.rglob("*.*")):
            if (
                path.suffix in (".py", ".pyi", ".h", ".txt", ".json", ".typed")
                and path.is_file()
                and len(found) < FILES_MAX
            ):
                found[f"{root.name}/{path.relative_to(root)}"] = path
    return found


@pytest.mark.timeout(600)
def test_lines_by_extension_over_thousands_of_files(tmp_path: Path) -> None:
    tree = _tree()
    assert len(tree) > FILES_MIN
    with running_store(tmp_path, "--nodes", "3", "--copies", "2") as running, running.client() as store:
        store.make_bucket("tree")
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda item: store.write(f"s3://tree/{item[0]}", item[1].read_bytes()), tree.items()))
        answer = store.objects("s3://tree/").sh('echo "${MANTA_INPUT_OBJECT##*.} $(wc -l)"', reduce=_BY_EXTENSION)
        counted = answer.text()
        status = answer.job.status()
    local = subprocess.run(
        ["bash", "-c", 'while read -r -d \'\' f; do echo "${f##*.} $(wc -l < "$f")"; done | ' + _BY_EXTENSION],
        input=b"".join(bytes(path) + b"\0" for path in tree.values()),
        capture_output=True,
        check=True,
    )
    assert counted == local.stdout.decode()
    assert (status.inputs, status.errors, status.input_bytes_moved) == (len(tree), 0, 0)
