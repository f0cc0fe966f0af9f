"""Unpacks an image, an OCI archive or one of `docker save`, into a folder: runs inside a zone, on what a client sent.

A program of its own for `python -I -S`: `ARCHIVE FOLDER BYTES_MAX ENTRIES_MAX MACHINE`. Digests are verified, whiteouts
honoured, names resolved below FOLDER. Files become readable for all and lose their owners, setuid bits and attributes;
devices and pipes are left out. Says what it found as JSON on stdout; exits 1 with the reason when the archive is at
fault, 2 when the machine is. https://github.com/opencontainers/image-spec
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import json
import os
import re
import shutil
import stat
import sys
import tarfile
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO, NoReturn

MOUNT_POINTS = ("proc", "dev", "run", "manta", "assets", "scratch", "input", "zone")
SCRATCH_LINKS = (("tmp",), ("var", "tmp"))
SHELLS = (("bin", "bash"), ("bin", "sh"))
JSON_MAX = 4 << 20
LAYERS_MAX = 128
MEMBERS_MAX = 10_000
DEPTH_MAX = 128
LINKS_MAX = 40
NAME_MAX = 255
PIECE = 1 << 20
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Bad(Exception):
    """What is wrong with the archive, as the end of a sentence."""


class Reader:
    """A stretch of the archive, hashed as it is read."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file = file
        self._position = start
        self._end = start + size
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        left = self._end - self._position
        self._file.seek(self._position)
        data = self._file.read(left if size < 0 else min(size, left))
        self._position += len(data)
        self.digest.update(data)
        return data

    def check(self, wanted: str) -> None:
        while self.read(PIECE):
            pass
        if f"sha256:{self.digest.hexdigest()}" != wanted:
            raise Bad(f"{wanted[:19]}… does not have that digest")


class Inflated:
    """A layer as the plain tar that it is, or that gzip made of it; hashed, and bounded."""

    def __init__(self, source: Reader, limit: int, magic: bytes) -> None:
        if magic[:4] == b"\x28\xb5\x2f\xfd":
            raise Bad("a layer is compressed by zstd: use gzip, or no compression")
        is_gzip = magic[:2] == b"\x1f\x8b"
        self._source = gzip.GzipFile(fileobj=source, mode="rb") if is_gzip else source  # type: ignore[call-overload]
        self.left = limit
        self.digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._source.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise Bad("its layers are larger than an image may be")
        self.digest.update(data)
        return data


class Archive:
    """The files of the archive by their names."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "rb")  # noqa: SIM115 - closed by close
        self._files: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        try:
            self._list()
        except BaseException:
            self.close()
            raise

    def _list(self) -> None:
        with tarfile.open(fileobj=self._file, mode="r:") as tar:
            for count, member in enumerate(tar):
                if count >= MEMBERS_MAX:
                    raise Bad(f"it has more than {MEMBERS_MAX} members")
                _check_size(member)
                name = os.path.normpath(member.name)
                if member.isreg() and not member.issparse():
                    self._files[name] = member.offset_data, member.size
                elif member.issym():
                    self._links[name] = os.path.normpath(os.path.join(os.path.dirname(name), member.linkname))

    def close(self) -> None:
        self._file.close()

    def has(self, name: str) -> bool:
        return name in self._files

    def open(self, name: str) -> Reader:
        for _ in range(LINKS_MAX):
            if name in self._files:
                return Reader(self._file, *self._files[name])
            name = self._links.get(name, "")
        raise Bad("it lacks a file that it names")

    def magic(self, name: str) -> bytes:
        return self.open(name).read(4)

    def json(self, name: str, digest: str | None = None) -> Any:
        reader = self.open(name)
        data = reader.read(JSON_MAX)
        if digest is not None:
            reader.check(digest)
        return json.loads(data)

    def blob_name(self, descriptor: Any) -> str:
        digest = descriptor["digest"]
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise Bad("a digest is not of SHA-256")
        return "blobs/sha256/" + digest[7:]

    def blob_json(self, descriptor: Any) -> Any:
        return self.json(self.blob_name(descriptor), descriptor["digest"])


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


class Tree:
    """The folder that layers are put into, one over the other."""

    def __init__(self, root: str, bytes_max: int, entries_max: int) -> None:
        self.root = root
        self.bytes = 0
        self.entries = 0
        self._bytes_max = bytes_max
        self._entries_max = entries_max
        self._added: set[str] = set()
        self._known: tuple[tuple[str, ...], str] = ((), root)

    def apply(self, stream: Inflated) -> None:
        """One layer. A whiteout hides what lower layers have, never what the same layer adds."""
        self._added.clear()
        with tarfile.open(fileobj=stream, mode="r|") as tar:  # type: ignore[call-overload]
            while (member := tar.next()) is not None:
                tar.members = []  # else it remembers every one
                self._take(tar, member)

    def _take(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        _check_size(member)
        parts = _parts(member.name)
        if not parts or any(part.startswith(".wh.") for part in parts[:-1]):
            return
        self.entries += 1
        self.bytes += member.size if member.isreg() else 0
        if self.entries > self._entries_max:
            raise Bad(f"it has more than {self._entries_max} entries")
        if self.bytes > self._bytes_max:
            raise Bad(f"its files have more than {self._bytes_max} bytes")
        folder = self.folder(parts[:-1])
        name = parts[-1]
        if name.startswith(".wh."):
            self._white_out(folder, name)
            return
        path = os.path.join(folder, name)
        if member.isdir():
            self._make_folder(path)
        elif member.isreg() or member.issym() or member.islnk():
            self._remove(path)
            self._make(tar, member, path)
        else:
            return  # devices and pipes
        self._note(path)

    def _make(self, tar: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> None:
        if member.issym():
            os.symlink(member.linkname, path)
        elif member.islnk():
            parts = _parts(member.linkname)
            source = os.path.join(self.folder(parts[:-1], make=False), parts[-1] if parts else "")
            if not stat.S_ISREG(os.lstat(source).st_mode):
                raise Bad("a hard link leads to no file")
            os.link(source, path, follow_symlinks=False)
        else:
            data = tar.extractfile(member)
            mode = 0o555 if member.mode & 0o111 else 0o444
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode), "wb") as file:
                if data is not None:
                    shutil.copyfileobj(data, file, PIECE)

    def _make_folder(self, path: str) -> None:
        with_mode = _mode(path)
        if with_mode is not None and not stat.S_ISDIR(with_mode):
            self._remove(path)
            with_mode = None
        if with_mode is None:
            os.mkdir(path, 0o755)

    def folder(self, parts: tuple[str, ...], *, make: bool = True) -> str:
        """The real path of a folder below the root, links followed as if the root were `/`; made where missing."""
        if parts == self._known[0]:
            return self._known[1]
        todo, done, links = list(reversed(parts)), [self.root], 0
        while todo:
            part = todo.pop()
            if part in ("", "."):
                continue
            if part == "..":
                done = done[:-1] or [self.root]
                continue
            path = os.path.join(done[-1], part)
            mode = _mode(path)
            if mode is not None and stat.S_ISLNK(mode):
                links += 1
                target = os.readlink(path)
                if links > LINKS_MAX:
                    raise Bad("its symbolic links go in a circle")
                done = [self.root] if target.startswith("/") else done
                todo += reversed(target.split("/"))
                continue
            if mode is None and make:
                os.mkdir(path, 0o755)
                self.entries += 1
            elif mode is None or not stat.S_ISDIR(mode):
                raise Bad(f"{part!r} is no folder, but something lies below it")
            done.append(path)
            if len(done) > DEPTH_MAX:
                raise Bad(f"its folders are more than {DEPTH_MAX} deep")
        self._known = parts, done[-1]
        return done[-1]

    def has_shell(self) -> bool:
        for *parents, name in SHELLS:
            for _ in range(LINKS_MAX):
                try:
                    path = os.path.join(self.folder(tuple(parents), make=False), name)
                    mode = os.lstat(path).st_mode
                except (Bad, OSError):
                    break
                if stat.S_ISREG(mode) and mode & 0o111:
                    return True
                if not stat.S_ISLNK(mode):
                    break
                target = os.readlink(path)
                here = [] if target.startswith("/") else os.path.relpath(path, self.root).split("/")[:-1]
                *upper, name = [part for part in target.split("/") if part] or [""]
                parents = [*here, *upper]
        return False

    def finish(self) -> None:
        """The places where a zone mounts something are real folders; temporary files go to the task's scratch."""
        for name in MOUNT_POINTS:
            self._make_folder(os.path.join(self.root, name))
        for *parents, name in SCRATCH_LINKS:
            path = os.path.join(self.folder(tuple(parents)), name)
            self._remove(path)
            os.symlink("/scratch", path)

    def _white_out(self, folder: str, name: str) -> None:
        if name == ".wh..wh..opq":
            self._hide_below(folder)
        elif not name.startswith(".wh..wh."):
            path = os.path.join(folder, name[4:])
            if name[4:] in ("", ".", ".."):
                raise Bad("a whiteout names nothing")
            if path not in self._added:
                self._remove(path)

    def _hide_below(self, folder: str) -> None:
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            if path not in self._added:
                self._remove(path)
            elif stat.S_ISDIR(os.lstat(path).st_mode):
                self._hide_below(path)

    def _remove(self, path: str) -> None:
        mode = _mode(path)
        if mode is None:
            return
        self._known = (), self.root
        if stat.S_ISDIR(mode):
            shutil.rmtree(path)
        else:
            os.unlink(path)

    def _note(self, path: str) -> None:
        while path not in self._added and len(path) > len(self.root):
            self._added.add(path)
            path = os.path.dirname(path)


def _parts(name: str) -> tuple[str, ...]:
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts or "\0" in name or any(len(os.fsencode(part)) > NAME_MAX for part in parts):
        raise Bad(f"the name {name[:100]!r} leads out of the image, or is too long")
    return parts


def _check_size(member: tarfile.TarInfo) -> None:
    """tarfile takes whatever number a header holds: one below 0 would make room for others."""
    if member.size < 0:
        raise Bad(f"the size of {member.name[:100]!r} is below 0")


def _mode(path: str) -> int | None:
    try:
        return os.lstat(path).st_mode
    except FileNotFoundError:
        return None


def unpack(archive_path: str, root: str, bytes_max: int, entries_max: int, machine: str) -> dict[str, object]:
    """What a node has to know of the image."""
    tree = Tree(root, bytes_max, entries_max)
    with contextlib.closing(Archive(archive_path)) as archive:
        config, layers = find_image(archive, machine)
        left = 2 * bytes_max
        for layer in layers:
            left = _apply(archive, layer, tree, left)
    tree.finish()
    if not tree.has_shell():
        raise Bad("it has neither /bin/bash nor /bin/sh to run commands with")
    env = [one for one in config.get("Env") or () if isinstance(one, str)]
    workdir = config.get("WorkingDir")
    return {
        "env": env,
        "workdir": workdir if isinstance(workdir, str) else "",
        "bytes": tree.bytes,
        "entries": tree.entries,
    }


def _apply(archive: Archive, layer: Layer, tree: Tree, left: int) -> int:
    """How much of `left` bytes of plain tar is left then."""
    source = archive.open(layer.name)
    stream = Inflated(source, left, archive.magic(layer.name))
    tree.apply(stream)
    while stream.read(PIECE):
        pass
    if f"sha256:{stream.digest.hexdigest()}" != layer.plain_digest:
        raise Bad(f"the layer {layer.plain_digest[:19]}… does not have that digest")
    if layer.digest is not None:
        source.check(layer.digest)
    return stream.left


def main() -> NoReturn:
    archive, root, bytes_max, entries_max, machine = sys.argv[1:]
    os.umask(0o022)
    try:
        print(json.dumps(unpack(archive, root, int(bytes_max), int(entries_max), machine)))
    except Bad as error:
        sys.exit(str(error))
    except (tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile, json.JSONDecodeError, UnicodeError) as error:
        sys.exit(f"it is damaged: {error}")
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE):
            print(error, file=sys.stderr)
            sys.exit(2)
        sys.exit(f"its files cannot be made: {error.strerror}")
    except MemoryError:
        sys.exit("that needs too much memory")
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, RecursionError) as error:
        sys.exit(f"its manifest or configuration is odd: {type(error).__name__} {error}")
    sys.exit(0)


if __name__ == "__main__":
    main()
