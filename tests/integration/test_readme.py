"""The README's examples do what it says."""

import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import Serve
from tests.support.store import RunningStore

README = (Path(__file__).parents[2] / "README.md").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def _run(store: RunningStore, *command: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{store.environment['PATH']}"
    return subprocess.run(
        command, capture_output=True, text=True, timeout=100, env=store.environment | {"PATH": path}, check=False
    )


def test_the_shell_example(serve: Serve) -> None:
    result = _run(serve(), "bash", "-euo", "pipefail", "-c", *_blocks("bash"))
    assert result.returncode == 0, result.stderr
    listing, job, cat = result.stdout.splitlines()[:2], result.stdout.splitlines()[2:5], result.stdout.splitlines()[5:]
    assert [line.split()[-1] for line in listing] == ["s3://books/cities.txt", "s3://books/moby.txt"]
    assert job == ["2 it", "2 of", "2 the"]
    assert cat == ["call me ishmael", "some years ago"]


def test_the_python_examples(serve: Serve) -> None:
    store = serve()
    said = []
    for example in _blocks("python"):
        result = _run(store, sys.executable, "-c", example)
        assert result.returncode == 0, result.stderr
        said.append(result.stdout)
    assert said == ["4\n", "[('the', 3), ('sea', 3)]\n"]


def test_scripts_beside_a_checkout_find_the_package(tmp_path: Path) -> None:
    """A folder called `manta` beside a script, as a checkout is, hides nothing."""
    (tmp_path / "manta").mkdir()
    script = tmp_path / "script.py"
    script.write_text("import manta; print(manta.connect.__name__)")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout == "connect\n", done.stderr
