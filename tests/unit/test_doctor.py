"""What the doctor makes of a kernel's version, and of the Python that tasks get."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from jobs.programs import install
from jobs.programs.python_runtime import PythonRuntime
from manta.cli.doctor import clock, python_functions, syncfs_errors, task_programs
from tests.support.ordinary_user import ORDINARY_UID, UNREADABLE, can_be_read_by
from tests.support.store import clean_environment


@pytest.mark.invariant("D5")
@pytest.mark.parametrize(
    ("release", "reports"),
    [
        ("4.19.0-27-amd64", False),
        ("5.4.0", False),
        ("5.7.19", False),
        ("5.8.0-rc1", True),
        ("5.10", True),
        ("6.1", True),
    ],
)
def test_d5_an_old_kernel_hides_errors_of_syncfs(release: str, reports: bool) -> None:
    finding = syncfs_errors(release)
    assert (finding.ok, finding.required) == (reports, False)
    assert "--no-journal" in finding.remedy


@pytest.mark.parametrize("sites", [(), ("/manta/site-packages",)])
def test_functions_without_libraries_are_a_note(sites: tuple[str, ...]) -> None:
    finding = python_functions(PythonRuntime("/usr/bin/python3", "3.11", sites))
    assert (finding.ok, finding.required) == (bool(sites), False)
    assert "Python 3.11" in finding.seen


@pytest.mark.parametrize(
    ("compiler", "python", "seen"),
    [(True, True, "in C"), (False, True, "in Python"), (False, False, "none")],
)
def test_a_machine_that_can_make_no_programs_for_tasks_is_told_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, compiler: bool, python: bool, seen: str
) -> None:
    if not compiler:
        monkeypatch.setenv("PATH", str(tmp_path))
    if not python:
        monkeypatch.setattr(install, "interpreter", lambda: "/usr/bin/no-such-python")
    finding = task_programs()
    assert (finding.ok, finding.seen, finding.required) == (compiler or python, seen, False)
    assert "install gcc and libc6-dev" in finding.remedy


@pytest.mark.parametrize(("inside", "mode"), [("", 0o755), ("", 0o700), ("not/yet/there", 0o700)])
def test_a_data_folder_of_another_user_is_one_finding(tmp_path: Path, inside: str, mode: int) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    if not can_be_read_by(ORDINARY_UID):
        pytest.skip(UNREADABLE)
    with tempfile.TemporaryDirectory() as folder:  # below tmp_path nobody else finds the way
        Path(folder, "config").mkdir()
        Path(folder, "catalog.db").touch(0o600)
        Path(folder).chmod(mode)
        done = subprocess.run(
            [sys.executable, "-m", "manta.cli.main", "doctor", "--data", str(Path(folder, inside)), "--json"],
            user=ORDINARY_UID, group=ORDINARY_UID, extra_groups=(), env=clean_environment(tmp_path), cwd="/",
            capture_output=True, check=False,
        )  # fmt: skip
    findings = {one["what"]: one for one in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 1, done
    assert not {"extended attributes", "fsync"} & findings.keys(), findings
    assert ("catalog" in findings) == (mode == 0o755), "what may be read is looked at"
    if "catalog" in findings:
        assert "not checked" in findings["catalog"]["seen"]
        assert "restore" not in findings["catalog"]["remedy"], "nothing is wrong with it"
    assert f"{folder} is not writable for this user" in findings["data folder"]["seen"]
    assert "it belongs to (number 0)" in findings["data folder"]["remedy"]


def test_a_data_folder_on_a_disk_that_is_mounted_read_only_is_said_to_be_and_what_it_holds_is_checked(
    tmp_path: Path,
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    script = """set -e; mount -t tmpfs none "$1"
        "$2" -c 'import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute("PRAGMA journal_mode=wal")' "$1/catalog.db"
        mount -o remount,ro "$1"; exec "$2" -m manta.cli.main doctor --json --data "$1" """
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", tmp_path, sys.executable],
        env=clean_environment(tmp_path), cwd="/", capture_output=True, check=False,
    )  # fmt: skip
    findings = {one["what"]: one for one in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 1, done
    assert findings["data folder"]["seen"] == f"{tmp_path} lies on a file system that is mounted read-only"
    assert "restore" not in findings["catalog"]["remedy"], "nothing is wrong with it"
    assert "fsync" not in findings


def test_a_file_is_no_data_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = subprocess.run(
        [sys.executable, "-m", "manta.cli.main", "doctor", "--data", str(tmp_path / "file")],
        env=clean_environment(tmp_path), capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"{tmp_path / 'file'} is no folder" in done.stdout


@pytest.mark.parametrize(
    ("asked_s", "answered_s", "ok", "seen"),
    [
        (1000.0, 1000.01, True, "agrees with the store's"),
        (1000.98, 1000.99, True, "agrees with the store's"),
        (999.0, 1001.5, True, "agrees with the store's"),
        (997.0, 997.5, True, "2 s apart from the store's"),
        (1006.0, 1006.1, True, "5 s apart from the store's"),
        (1061.5, 1061.6, False, "60 s apart from the store's"),
        (900.0, 900.1, False, "100 s apart from the store's"),
    ],
)
def test_the_clocks_are_apart_by_more_than_the_rounding_of_what_the_store_tells(
    asked_s: float, answered_s: float, ok: bool, seen: str
) -> None:
    finding = clock(1000.0, asked_s, answered_s)
    assert (finding.ok, finding.seen) == (ok, seen)
