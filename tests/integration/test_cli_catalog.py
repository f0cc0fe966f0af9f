"""Backup, restore and fsck as an operator types them."""

from pathlib import Path

import pytest

from tests.support.store import RunningStore, running_store


@pytest.mark.invariant("D9")
def test_a_backup_taken_while_running_brings_the_store_back(tmp_path: Path) -> None:
    saved = tmp_path / "catalog.backup"
    with running_store(tmp_path, "--nodes", "2", "--copies", "2", "--lanes", "0") as store, store.client() as client:
        client.make_bucket("kept")
        for number in range(10):
            client.write(f"s3://kept/{number}", b"%d" % number * 1000)
        made = store.manta("backup", "--data", str(store.data), str(saved))
        assert made.returncode == 0, made.stderr
        clean = store.manta("fsck", "--data", str(store.data))
        assert (clean.returncode, clean.stdout) == (0, b""), clean.stderr
        client.write("s3://kept/later", b"put after the backup")
        busy = store.manta("restore", "--data", str(store.data), str(saved))
        assert busy.returncode == 1
        assert b"Another `manta serve`" in busy.stderr
    for path in store.data.glob("catalog.db*"):
        path.unlink()
    restored = store.manta("restore", "--data", str(store.data), str(saved))
    assert restored.returncode == 0, restored.stderr
    again = store.manta("restore", "--data", str(store.data), str(saved))
    assert again.returncode == 1
    with running_store(tmp_path, "--lanes", "0") as store, store.client() as client:
        assert [client.read(f"s3://kept/{number}") for number in range(10)] == [b"%d" % n * 1000 for n in range(10)]
        assert _lost_files(store) == 2
        ask = ["restored", "--data", str(store.data)]
        assert len(store.manta(*ask).stdout.splitlines()) == 1
        assert store.manta(*ask, "--sweep").stdout == b""
        assert _lost_files(store) == 0
        assert len(store.manta(*ask, "--since", "2026-01-02").stdout.splitlines()) == 1
        assert store.manta(*ask, "--since", "2026-01-02", "--sweep").returncode == 2


def _lost_files(store: RunningStore) -> int:
    """Copies of objects whose rows a restore lost, as fsck lists them."""
    found = store.manta("fsck", "--data", str(store.data))
    assert found.returncode == 0, found.stderr
    return found.stdout.count(b"kept since a restore")


def _blobs(store: RunningStore, node: str) -> list[Path]:
    return [path for path in (store.data / "nodes" / node / "blobs").rglob("*") if path.is_file()]


@pytest.mark.invariant("D9")
@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_fsck_names_what_is_missing_and_what_has_the_wrong_size(tmp_path: Path, running: bool) -> None:
    with running_store(tmp_path, "--nodes", "2", "--copies", "2", "--lanes", "0") as store:
        with store.client() as client:
            client.make_bucket("kept")
            for number in range(3):
                client.write(f"s3://kept/{number}", b"x" * 1000)
        if running:
            _hurt_and_check(store)
    if not running:
        _hurt_and_check(store)


def _hurt_and_check(store: RunningStore) -> None:
    gone, short, _ = _blobs(store, "node-1")
    gone.unlink()
    short.chmod(0o600)
    short.write_bytes(b"x" * 999)
    found = store.manta("fsck", "--data", str(store.data))
    assert found.returncode == 1
    lines = {tuple(line.split()[:3]): line for line in found.stdout.decode().splitlines()}
    assert set(lines) == {("node-1", "missing", "copy"), ("node-1", "size", "mismatch")}
    assert gone.name in lines["node-1", "missing", "copy"]
    assert short.name in lines["node-1", "size", "mismatch"]


def test_without_a_catalog_the_error_says_so(tmp_path: Path) -> None:
    with running_store(tmp_path, "--lanes", "0") as store:
        for command in (["fsck"], ["backup", str(tmp_path / "file")]):
            result = store.manta(*command, "--data", str(tmp_path / "elsewhere"))
            assert result.returncode == 2
            assert b"There is no catalog at" in result.stderr
            assert b": say --data" in result.stderr
