"""Folders outside the data folder: a dead owner's go, anybody else's stay."""

import os
import subprocess
from pathlib import Path

from manta.core.owner import Owner, claim_folder


def _dead() -> Owner:
    """A process that was, of this namespace."""
    with subprocess.Popen(["sleep", "60"]) as process:
        owner = _of(process.pid)
        process.kill()
    return owner


def _of(pid: int) -> Owner:
    started = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return Owner("other", Owner.own("x").namespace, pid, started)


def _folder(path: Path, owner: str | None) -> Path:
    path.mkdir()
    (path / "socket").touch()
    if owner is not None:
        (path / "owner").write_text(owner)
    return path


def test_an_owner_that_nobody_has_waited_for_is_dead() -> None:
    """Init takes its time with those whose parent died, and some containers' never does it."""
    with subprocess.Popen(["sleep", "60"]) as process:
        owner = _of(process.pid)
        assert not Owner.own("x").is_dead(owner)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert Path(f"/proc/{process.pid}").exists()
        assert Owner.own("x").is_dead(owner)


def test_folders_of_dead_owners_go_and_no_others(tmp_path: Path) -> None:
    dead = _folder(tmp_path / "manta-dead", _dead().name(0))
    kept = [
        _folder(tmp_path / "manta-living", _of(os.getppid()).name(0)),
        _folder(tmp_path / "manta-elsewhere", Owner("other", 1, 1, 1).name(0)),
        _folder(tmp_path / "manta-unknown", None),
        _folder(tmp_path / "manta-nonsense", "manta"),
        _folder(tmp_path / "another-dead", _dead().name(0)),
        _folder(tmp_path / "outside", _dead().name(0)),
    ]
    (tmp_path / "manta-link").symlink_to(kept[-1])
    own = _folder(tmp_path / "manta-own", None)
    claim_folder(own, "own", 0o711, "manta-*")
    assert not dead.exists()
    assert all((folder / "socket").exists() for folder in kept)
    assert [path.name for path in own.iterdir()] == ["owner"]
    assert own.stat().st_mode & 0o777 == 0o711
    assert Owner.of((own / "owner").read_text()) == Owner.own("own")
