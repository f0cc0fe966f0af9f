"""An OCI zone's bundle: what the runtime is told, and that no path of a zone leads out of its root."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from jobs.sandbox.building.blueprint import Runtime
from jobs.sandbox.building.builders import BUBBLEWRAP, builder_choice
from jobs.sandbox.building.oci import Content, make_bundle, run_command


def _made(folder: Path, **content: Any) -> Path:
    command = ["/proc/self/fd/3", "4"]
    return make_bundle(Runtime("/bin/runtime", folder), "zone-1", os.geteuid(), command, Content(**content))


def test_a_bundle_says_what_a_zone_is(tmp_path: Path) -> None:
    bundle = _made(
        tmp_path, programs={"/manta/bin/run": b"#!"}, links={"/manta/bin/alias": "run"}, zone_folder_bytes=4096
    )
    config = json.loads((bundle / "config.json").read_bytes())
    assert config["process"]["noNewPrivileges"] is True
    assert config["root"] == {"path": "rootfs", "readonly": True}
    assert {one["type"] for one in config["linux"]["namespaces"]} == {"user", "pid", "ipc", "uts", "mount", "network"}
    assert config["linux"]["uidMappings"] == [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
    writable = [mount for mount in config["mounts"] if mount["type"] == "bind" and "ro" not in mount["options"]]
    assert all(mount["destination"].startswith("/dev/") for mount in writable)
    places = [mount["destination"] for mount in config["mounts"]]
    assert len(set(places)) == len(places)
    assert all((bundle / "rootfs" / place[1:]).exists() for place in places), "a rootless runtime can make none"
    assert (bundle / "rootfs/manta/bin/alias").read_bytes() == b"#!"


def test_an_image_is_the_root_and_what_is_brought_along_lies_over_it(tmp_path: Path) -> None:
    bundle = _made(
        tmp_path, image="/shared/image", programs={"/manta/bin/run": b"#!"}, assets={"/assets/b/k": "/shared/k"}
    )
    config = json.loads((bundle / "config.json").read_bytes())
    places = {mount["destination"]: mount["source"] for mount in config["mounts"]}
    assert config["root"]["path"] == "/shared/image"
    assert places["/manta"] == str(bundle / "rootfs/manta")
    assert places["/assets/b/k"] == "/shared/k"
    assert "/usr" not in places


@pytest.mark.invariant("S2")
@pytest.mark.parametrize("path", ["/assets/../../../etc/new", "relative", "/.."])
def test_no_path_of_a_zone_leads_out_of_its_root(tmp_path: Path, path: str) -> None:
    (tmp_path / "bundles").mkdir()
    with pytest.raises(OSError, match="no path of a zone"):
        _made(tmp_path / "bundles", assets={path: "/etc/passwd"})
    assert not (tmp_path / "bundles" / "zone-1").exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["bundles"]


def test_descriptors_are_put_in_order_and_none_besides_is_left(tmp_path: Path) -> None:
    words = run_command(Runtime("/bin/runtime", tmp_path), tmp_path / "zone-1", [64, 70])
    assert 'exec "$@" 3<&64- 4<&70-' in words
    assert words[words.index("--preserve-fds") + 1] == "2"
    assert words[-1] == "zone-1"


def test_a_runtime_is_found_where_only_admins_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert BUBBLEWRAP.find() is None
    assert builder_choice("oci", "no-such-runtime").find() is None
    runtime = tmp_path / "runtime"
    runtime.write_text("#!/bin/sh\n")
    runtime.chmod(0o755)
    assert builder_choice("oci", "runtime").find() == str(runtime)
    assert builder_choice("oci", str(runtime)).find() == str(runtime)
