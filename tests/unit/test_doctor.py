"""What the doctor makes of a kernel's version, and of the Python that tasks get."""

import pytest

from jobs.programs.python_runtime import PythonRuntime
from manta.cli.doctor import python_functions, syncfs_errors


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
