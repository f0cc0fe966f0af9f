"""The data directory: what is kept at the first start is what is found at the next."""

from pathlib import Path

import pytest

from manta.supervisor.data_dir import DataDir


def test_root_keys_stay_as_they_were_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANTA_ROOT_ACCESS_KEY", "ROOT")
    monkeypatch.setenv("MANTA_ROOT_SECRET_KEY", "100%secret;#=")
    DataDir(tmp_path).root_keys()
    monkeypatch.delenv("MANTA_ROOT_SECRET_KEY")
    kept = DataDir(tmp_path).root_keys()
    assert (kept.access_key, kept.secret_key) == ("ROOT", "100%secret;#=")
