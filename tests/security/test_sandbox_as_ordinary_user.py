"""The sandbox's security tests a second time, as an ordinary user, when the suite itself runs as root."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ordinary_user import ORDINARY_UID, UNREADABLE, can_be_read_by

_HERE = Path(__file__).parent
_RUNS = (
    pytest.param(("holes",), "", id="holes"),
    pytest.param(("refusal",), "", id="refusal"),
    pytest.param(("isolation",), "not python", id="isolation"),
    pytest.param(("limits",), "not python", id="limits"),
    pytest.param(("programs",), "", id="programs"),
    pytest.param(("terminal",), "not python", id="terminal"),
    pytest.param(("images", "ranges", "inputs"), "not python", id="objects"),
    pytest.param(("isolation",), "python", id="isolation-python", marks=pytest.mark.slow),
    pytest.param(("limits",), "python", id="limits-python", marks=pytest.mark.slow),
    pytest.param(("ranges", "inputs"), "python", id="objects-python", marks=pytest.mark.slow),
)
"""The files of tests to run as that user, by what they are about, and which of their tests. Not the one of control
groups: an ordinary user is rarely given any, and without them all of those tests are skipped."""


@pytest.fixture
def home() -> Iterator[Path]:
    """Not below tmp_path: pytest closes that to others, again at each start of any pytest on the machine."""
    with tempfile.TemporaryDirectory(prefix="manta-user-") as folder:
        os.chown(folder, ORDINARY_UID, ORDINARY_UID)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="the suite already runs as an ordinary user")
@pytest.mark.invariant("S4", "S5")
@pytest.mark.parametrize(("subjects", "selection"), _RUNS)
def test_s4_s5_hold_for_an_ordinary_user(subjects: tuple[str, ...], selection: str, home: Path) -> None:
    if not can_be_read_by(ORDINARY_UID):
        pytest.skip(UNREADABLE)
    command = [sys.executable, "-m", "pytest", "-q", "-rps", "-p", "no:cacheprovider", "--tb=short", "-k", selection]
    done = subprocess.run(
        [*command, f"--basetemp={home}/tests", *(str(_HERE / f"test_sandbox_{subject}.py") for subject in subjects)],
        user=ORDINARY_UID,
        group=ORDINARY_UID,
        extra_groups=(),
        cwd=_HERE.parents[1],
        env={**os.environ, "HOME": str(home), "TMPDIR": str(home), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    for subject in subjects:
        file = rf"\S*test_sandbox_{subject}\.py"
        passed = len(re.findall(rf"^PASSED {file}", done.stdout, re.MULTILINE))
        skipped = sum(map(int, re.findall(rf"^SKIPPED \[(\d+)\] {file}", done.stdout, re.MULTILINE)))
        assert passed > max(1, 2 * skipped), (
            f"{subject}: {passed} passed, {skipped} were skipped\n{done.stdout[-3000:]}"
        )
