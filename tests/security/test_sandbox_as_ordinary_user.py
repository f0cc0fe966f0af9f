"""The sandbox's security tests a second time, as an ordinary user, when the suite itself runs as root."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_UID = 65533
_HERE = Path(__file__).parent
_RUNS = (
    pytest.param("test_sandbox_holes.py", "", id="holes"),
    pytest.param("test_sandbox_refusal.py", "", id="refusal"),
    pytest.param("test_sandbox_isolation.py", "not python", id="isolation"),
    pytest.param("test_sandbox_limits.py", "not python", id="limits"),
    pytest.param("test_sandbox_programs.py", "", id="programs"),
    pytest.param("test_sandbox_terminal.py", "not python", id="terminal"),
    pytest.param("test_sandbox_isolation.py", "python", id="isolation-python", marks=pytest.mark.slow),
    pytest.param("test_sandbox_limits.py", "python", id="limits-python", marks=pytest.mark.slow),
)


def _readable_by_others() -> bool:
    probe = [sys.executable, "-c", f"open({str(__file__)!r}).read(); import pytest, jobs.sandbox"]
    done = subprocess.run(probe, user=_UID, group=_UID, extra_groups=(), capture_output=True, check=False, cwd="/")
    return done.returncode == 0


@pytest.fixture
def home() -> Iterator[Path]:
    """Not below tmp_path: pytest closes that to others, again at each start of any pytest on the machine."""
    with tempfile.TemporaryDirectory(prefix="manta-user-") as folder:
        os.chown(folder, _UID, _UID)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="the suite already runs as an ordinary user")
@pytest.mark.invariant("S4", "S5")
@pytest.mark.parametrize(("file", "selection"), _RUNS)
def test_s4_s5_hold_for_an_ordinary_user(file: str, selection: str, home: Path) -> None:
    if not _readable_by_others():
        pytest.skip("this checkout lies in a folder that only root may enter, so no ordinary user can run its tests")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", "-k", selection]
    done = subprocess.run(
        [*command, f"--basetemp={home}/tests", str(_HERE / file)],
        user=_UID,
        group=_UID,
        extra_groups=(),
        cwd=_HERE.parents[1],
        env={**os.environ, "HOME": str(home), "TMPDIR": str(home), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
