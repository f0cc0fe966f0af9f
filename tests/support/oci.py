"""Images made by hand: OCI archives and those of `docker save`, of files of this machine, right or wrong on purpose."""

import gzip
import hashlib
import io
import json
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def file(name: str, data: bytes = b"", mode: int = 0o644) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    return info, data


def entry(name: str, kind: bytes, link: str = "", mode: int = 0o755) -> tuple[tarfile.TarInfo, bytes]:
    """A folder, link, device or whatever `kind` of tarfile it is."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    return info, b""


def tar(entries: Iterable[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def programs(*names: str) -> list[tuple[tarfile.TarInfo, bytes]]:
    """Programs of this machine under /bin, with the libraries that they need where they need them; sh is dash."""
    found: dict[str, bytes] = {}
    for name in ("dash", *names):
        path = shutil.which(name)
        assert path is not None, name
        found[f"bin/{'sh' if name == 'dash' else name}"] = Path(path).read_bytes()
        listed = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
        for library in re.findall(r"(/[^ ]+) \(", listed):
            found[library[1:]] = Path(library).read_bytes()
    return [file(name, data, 0o755) for name, data in found.items()]


def python(name: str = "usr/bin/python3") -> list[tuple[tarfile.TarInfo, bytes]]:
    """This Python under that name, with its own library and the shared ones that it needs."""
    interpreter = str(Path(sys.executable).resolve())
    found = [one for one in programs(interpreter) if not one[0].name.endswith(interpreter)]
    found.append(file(name, Path(interpreter).read_bytes(), 0o755))
    library = Path(sysconfig.get_path("stdlib"))
    for path in sorted(library.rglob("*")):
        inside = path.relative_to(library)
        if path.is_file() and not {"__pycache__", "test", "idlelib", "ensurepip", "lib2to3"} & set(inside.parts):
            found.append(file(f"usr/lib/{library.name}/{inside}", path.read_bytes()))
    return found


def by_zstd(data: bytes) -> bytes:
    """For `compress`; zstd is one of the packages that `make setup` brings."""
    return subprocess.run(["zstd", "-qc"], input=data, capture_output=True, check=True).stdout


@dataclass
class Image:
    """`layers` are tars. The switches spoil the archive: see `archive`."""

    layers: list[bytes]
    config: Mapping[str, object] = field(default_factory=dict)
    architecture: str = ARCHITECTURE
    compress: Callable[[bytes], bytes] = lambda data: gzip.compress(data, mtime=0)
    spoil: Callable[[dict[str, bytes]], None] = lambda _files: None

    def archive(self) -> bytes:
        """As `skopeo copy … oci-archive:` and buildah make it."""
        files: dict[str, bytes] = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}
        packed = [self.compress(layer) for layer in self.layers]
        manifest = {
            "schemaVersion": 2,
            "config": _blob(files, self._config()),
            "layers": [_blob(files, layer) for layer in packed],
        }
        other = {"digest": "sha256:" + "0" * 64, "platform": {"os": "linux", "architecture": "s390x"}}
        first = {
            **_blob(files, json.dumps(manifest).encode()),
            "platform": {"os": "linux", "architecture": self.architecture},
        }
        files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [other, first]}).encode()
        self.spoil(files)
        return tar(file(name, data) for name, data in files.items())

    def docker_archive(self) -> bytes:
        """As `docker save` made it before it had OCI layouts: plain layers, one a link to another's."""
        config = self._config()
        files = {f"{hashlib.sha256(config).hexdigest()}.json": config}
        names = [f"{number}/layer.tar" for number in range(len(self.layers))]
        files |= dict(zip(names, self.layers, strict=True))
        (config_name, *_) = files
        files["manifest.json"] = json.dumps([{"Config": config_name, "RepoTags": None, "Layers": names}]).encode()
        self.spoil(files)
        return tar(file(name, data) for name, data in files.items())

    def _config(self) -> bytes:
        plain = ["sha256:" + hashlib.sha256(layer).hexdigest() for layer in self.layers]
        config: dict[str, Any] = {
            "os": "linux",
            "architecture": self.architecture,
            "config": dict(self.config),
            "rootfs": {"type": "layers", "diff_ids": plain},
        }
        return json.dumps(config).encode()


def _blob(files: dict[str, bytes], data: bytes) -> dict[str, object]:
    digest = hashlib.sha256(data).hexdigest()
    files[f"blobs/sha256/{digest}"] = data
    return {"digest": f"sha256:{digest}", "size": len(data)}
