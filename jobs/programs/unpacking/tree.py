"""The folder that layers are put into, one over the other."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile

from jobs.programs.unpacking.archive import LINKS_MAX, PIECE, check_size
from jobs.programs.unpacking.layers import Inflated
from jobs.programs.unpacking.refusal import Bad

MOUNT_POINTS = ("proc", "dev", "run", "manta", "assets", "scratch", "input", "zone")
SCRATCH_LINKS = (("tmp",), ("var", "tmp"))
SHELLS = (("bin", "bash"), ("bin", "sh"))
DEPTH_MAX = 128
NAME_MAX = 255


class _Stream(tarfile.TarFile):
    """A tar whose memory of its members, which typeshed does not know, can be emptied."""

    members: list[tarfile.TarInfo]


class Tree:
    """At most so many bytes and entries, in all layers together."""

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
        with _Stream.open(fileobj=stream, mode="r|") as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # else it remembers every one
                self._take(tar, member)

    def _take(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        check_size(member)
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


def _mode(path: str) -> int | None:
    try:
        return os.lstat(path).st_mode
    except FileNotFoundError:
        return None
