"""Configuration files: what is wrong with one is named before anything starts."""

import json
from pathlib import Path

import pytest

from manta.core.config import GatewayConfig, NodeConfig, load, save
from manta.core.errors import InvalidArgument


def test_what_was_saved_is_what_is_loaded(tmp_path: Path) -> None:
    config = NodeConfig(node_id="n", data_dir="/d", key="00", listen="unix:/s", gateways=("http://g:1",), cpus=0.5)
    save(tmp_path / "node.json", config)
    assert load(tmp_path / "node.json", NodeConfig) == config
    assert (tmp_path / "node.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"catalog": "sqlite:/c", "copis": 2}', "has copis, which means nothing: known are catalog, copies"),
        ('{"catalog": "sqlite:/c", "copies": "2"}', "copies"),
        ('{"copies": 2}', "catalog"),
        ("[]", "is not valid"),
        ("{", "is not valid"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "gateway.json"
    path.write_text(text)
    with pytest.raises(InvalidArgument, match=said):
        load(path, GatewayConfig)


def test_a_supervisor_of_another_version_may_say_more(tmp_path: Path) -> None:
    path = tmp_path / "gateway.json"
    path.write_text(json.dumps({"catalog": "sqlite:/c", "of_tomorrow": 1}))
    assert load(path, GatewayConfig, supervised=True).catalog == "sqlite:/c"
