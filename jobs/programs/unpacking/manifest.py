"""What an archive says of its image: the configuration, and the layers for this machine."""

from __future__ import annotations

import os

from jobs.programs.unpacking.archive import Archive
from jobs.programs.unpacking.refusal import Bad

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LAYERS_MAX = 128
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class Layer:
    """A layer's file, its digest if one is known, and the digest of its plain tar."""

    def __init__(self, name: str, digest: str | None, plain_digest: str) -> None:
        self.name = name
        self.digest = digest
        self.plain_digest = plain_digest


def find_image(archive: Archive, machine: str) -> tuple[Any, list[Layer]]:
    """The configuration and the layers, the lowest first."""
    if archive.has("index.json"):
        manifest = _oci_manifest(archive, archive.json("index.json"), ARCHITECTURES.get(machine, machine))
        config = archive.blob_json(manifest["config"])
        named = [(archive.blob_name(layer), layer["digest"]) for layer in manifest["layers"]]
    elif archive.has("manifest.json"):
        first = archive.json("manifest.json")[0]
        digest = "sha256:" + os.path.basename(first["Config"]).partition(".")[0]
        config = archive.json(os.path.normpath(first["Config"]), digest)
        named = [(os.path.normpath(name), None) for name in first["Layers"]]
    else:
        raise Bad("it is neither an OCI archive (no index.json) nor one of `docker save` (no manifest.json)")
    plain = config["rootfs"]["diff_ids"]
    if not 0 < len(named) <= LAYERS_MAX or len(plain) != len(named):
        raise Bad(f"it has not between 1 and {LAYERS_MAX} layers, each with its digest")
    wanted = ARCHITECTURES.get(machine, machine)
    if config.get("os", "linux") != "linux" or config.get("architecture", wanted) != wanted:
        raise Bad(f"it is for {config.get('os')}/{config.get('architecture')}, this node is linux/{wanted}")
    return config.get("config") or {}, [Layer(*one, last) for one, last in zip(named, plain, strict=True)]


def _oci_manifest(archive: Archive, index: Any, wanted: str, depth: int = 0) -> Any:
    """The first manifest for this machine; what names no machine will do too."""
    if "layers" in index:
        return index
    fitting = [one for one in index["manifests"] if _fits(one.get("platform") or {}, wanted)]
    if not fitting or depth > 4:
        raise Bad(f"it has no image for linux/{wanted}")
    return _oci_manifest(archive, archive.blob_json(fitting[0]), wanted, depth + 1)


def _fits(platform: Any, wanted: str) -> bool:
    return bool(platform.get("os", "linux") == "linux" and platform.get("architecture", wanted) == wanted)
