"""An ordinary user, for suites that root runs: who it is, and whether it could run anything of this checkout."""

import os
import subprocess
import sys
from typing import Final

import pytest

ORDINARY_UID: Final = 65533
UNREADABLE: Final = "this checkout lies in a folder that only root may enter, so no ordinary user can run any of it"


def user_of(who: str) -> int | None:
    """By number the one to become as `root` or `user`; None: nobody else. Skips what cannot be here."""
    if os.geteuid() != 0:
        if who == "root":
            pytest.skip("only root can run a store as root")
        return None
    if who == "user" and not can_be_read_by(ORDINARY_UID):
        pytest.skip(UNREADABLE)
    return ORDINARY_UID if who == "user" else None


def can_be_read_by(user: int) -> bool:
    """Whether that user finds this checkout and its Python."""
    probe = [sys.executable, "-c", f"open({__file__!r}).read(); import pytest, jobs.sandbox"]
    return (
        subprocess.run(
            probe, user=user, group=user, extra_groups=(), capture_output=True, check=False, cwd="/"
        ).returncode
        == 0
    )
