"""What the doctor makes of a kernel's version."""

import pytest

from manta.cli.doctor import syncfs_errors


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
