"""The unpacker of images, on archives made by hand: what it makes of good ones, and why it refuses bad ones."""

import os
import platform
import stat
import tarfile
import zlib
from pathlib import Path

import pytest

from jobs.programs.unpacking import layers
from jobs.programs.unpacking.main import unpack
from jobs.programs.unpacking.refusal import Bad, NotHere
from jobs.programs.unpacking.tree import MOUNT_POINTS
from jobs.sandbox.building.contents import IMAGE_MOUNT_POINTS
from tests.support.oci import Image, by_zstd, entry, file, tar

SHELL = file("bin/sh", b"#!", 0o755)
MIB = 1 << 20


def _unpack(folder: Path, archive: bytes, *, bytes_max: int = MIB, entries_max: int = 1000) -> dict[str, object]:
    source = folder / "archive"
    source.write_bytes(archive)
    root = folder / "root"
    root.mkdir()
    return unpack(str(source), str(root), bytes_max, entries_max, platform.machine())


def _tree(folder: Path) -> dict[str, str]:
    """Path → content, "/" for a folder, "-> target" for a link; without what every image gets."""
    root, found = folder / "root", {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        else:
            found[name] = "/" if path.is_dir() else path.read_text()
    for name in (*MOUNT_POINTS, "tmp", "var/tmp", "var", "bin/sh", "bin"):
        found.pop(name, None)
    return found


def test_layers_are_put_over_each_other_and_whiteouts_honoured(tmp_path: Path) -> None:
    lower = [
        SHELL,
        file("a/one", b"1"),
        file("a/two", b"2"),
        file("b/three", b"3"),
        file("b/sub/four", b"4"),
        file("c", b"c"),
    ]
    upper = [
        file("a/.wh.one"), file("b/.wh..wh..opq"), file("b/new", b"n"), file("c/inside", b"c is a folder now"),
        file("a/two", b"22"), file(".wh.none"), file(".wh..wh.plnk/x"),
    ]  # fmt: skip
    upper.insert(3, entry("c", tarfile.DIRTYPE))
    found = _unpack(tmp_path, Image([tar(lower), tar(upper)], {"Env": ["A=1"], "WorkingDir": "/srv"}).archive())
    assert (found["env"], found["workdir"]) == (["A=1"], "/srv")
    assert _tree(tmp_path) == {
        "a": "/", "a/two": "22", "b": "/", "b/new": "n", "c": "/", "c/inside": "c is a folder now",
    }  # fmt: skip


def test_a_whiteout_spares_what_its_own_layer_adds(tmp_path: Path) -> None:
    lower = [SHELL, file("d/old", b"old"), file("d/kept/lower", b"hidden")]
    upper = [file("d/new", b"new"), file("d/kept/upper", b"u"), file("d/.wh..wh..opq"), file("e", b"e"), file(".wh.e")]
    _unpack(tmp_path, Image([tar(lower), tar(upper)]).archive())
    assert _tree(tmp_path) == {"d": "/", "d/new": "new", "d/kept": "/", "d/kept/upper": "u", "e": "e"}


def test_links_lead_within_the_image_only(tmp_path: Path) -> None:
    """Through a link to `/` or above it, a name still lies below the root; what is outside is untouched."""
    layer = [
        entry("up", tarfile.SYMTYPE, "../../../.."), entry("abs", tarfile.SYMTYPE, "/opt/elsewhere"),
        file("up/usr/bin/sh", b"#!", 0o755), entry("bin", tarfile.SYMTYPE, "usr/bin"), file("abs/x", b"x"),
        file("/rooted", b"r"), entry("hard", tarfile.LNKTYPE, "up/rooted"),
    ]  # fmt: skip
    _unpack(tmp_path, Image([tar(layer)]).archive())
    root = tmp_path / "root"
    assert (root / "usr/bin/sh").read_text() == "#!"
    assert (root / "opt/elsewhere/x").read_text() == "x"
    assert (root / "hard").read_text() == "r"
    assert not Path("/opt/elsewhere").exists()


def test_no_setuid_no_device_and_everybody_may_read(tmp_path: Path) -> None:
    layer = [
        SHELL, file("su", b"s", 0o4711), file("shadow", b"x", 0o600), entry("null", tarfile.CHRTYPE),
        entry("disk", tarfile.BLKTYPE), entry("pipe", tarfile.FIFOTYPE), entry("private", tarfile.DIRTYPE, mode=0o1700),
    ]  # fmt: skip
    _unpack(tmp_path, Image([tar(layer)]).archive())
    root = tmp_path / "root"
    modes = {path.name: stat.S_IMODE(path.lstat().st_mode) for path in root.iterdir()}
    assert (modes["su"], modes["shadow"], modes["private"]) == (0o555, 0o444, 0o755)
    assert not {"null", "disk", "pipe"} & set(modes)


def test_what_a_zone_mounts_over_is_a_real_folder(tmp_path: Path) -> None:
    assert {f"/{name}" for name in MOUNT_POINTS} == set(IMAGE_MOUNT_POINTS)
    layer = [SHELL, *(entry(name, tarfile.SYMTYPE, "/etc") for name in MOUNT_POINTS), file("tmp/x"), file("var/tmp/y")]
    _unpack(tmp_path, Image([tar(layer)]).archive())
    root = tmp_path / "root"
    assert all((root / name).is_dir() and not (root / name).is_symlink() for name in MOUNT_POINTS)
    assert {(root / name).readlink() for name in ("tmp", "var/tmp")} == {Path("/scratch")}


def test_an_archive_of_docker_save_will_do(tmp_path: Path) -> None:
    _unpack(tmp_path, Image([tar([SHELL, file("a", b"1")]), tar([file(".wh.a"), file("b", b"2")])]).docker_archive())
    assert _tree(tmp_path) == {"b": "2"}


@pytest.mark.parametrize("size", [10, 4 * MIB], ids=["small", "large"])
def test_layers_compressedby_zstd_will_do(tmp_path: Path, size: int) -> None:
    noise = os.urandom(size // 2).hex().encode()
    image = Image([tar([SHELL, file("a", noise)]), tar([file("b", b"2")])], compress=by_zstd)
    _unpack(tmp_path, image.archive(), bytes_max=8 * MIB)
    assert _tree(tmp_path) == {"a": noise.decode(), "b": "2"}


def test_a_node_without_zstd_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "PROGRAMS", str(tmp_path))
    with pytest.raises(NotHere, match="install `zstd`"):
        _unpack(tmp_path, Image([tar([SHELL])], compress=by_zstd).archive())


def _damage(files: dict[str, bytes]) -> None:
    name = max(files, key=lambda name: len(files[name]))
    files[name] = files[name][:-9] + b"x" + files[name][-8:]


def _swap(files: dict[str, bytes]) -> None:
    name = max(files, key=lambda name: len(files[name]))
    files[name] = tar([SHELL, file("evil")])


def _claims(size: int) -> bytes:
    """A layer whose one file is said to be so large."""
    info = tarfile.TarInfo("huge")
    info.size = size
    return info.tobuf() + bytes(10_240)


def _sparse(name: str, size: int) -> tuple[tarfile.TarInfo, bytes]:
    """A file of holes, whose size is what an extended header says."""
    info, data = file(name)
    info.pax_headers = {"GNU.sparse.size": str(size)}
    return info, data


LARGE = tar([SHELL, file("noise", os.urandom(4096))])
BAD = [
    (b"no tar at all", "truncated header"),
    (tar([file("readme")]), "neither an OCI archive"),
    (Image([LARGE], architecture="s390x").archive(), "linux/"),
    (Image([LARGE], spoil=_damage).archive(), "digest|CRC|ended|Error"),
    (Image([LARGE], spoil=_swap).archive(), "digest"),
    (Image([LARGE], spoil=_swap).docker_archive(), "digest"),
    (Image([LARGE], compress=lambda data: b"\x28\xb5\x2f\xfd" + data).archive(), "not what zstd made"),
    (Image([LARGE], compress=lambda data: by_zstd(data)[:-9]).archive(), "not what zstd made"),
    (Image([LARGE], compress=by_zstd, spoil=_swap).archive(), "digest"),
    (Image([tar([SHELL, file("big", bytes(64 * MIB))])], compress=by_zstd).archive(), "bytes"),
    (Image([tar([SHELL, file("../up")])]).archive(), "leads out"),
    (Image([tar([SHELL, file("n" * 256)])]).archive(), "too long"),
    (Image([tar([SHELL, file("/".join("d" * 200) + "/x")])]).archive(), "deep"),
    (
        Image(
            [tar([SHELL, entry("a", tarfile.SYMTYPE, "b"), entry("b", tarfile.SYMTYPE, "a"), file("a/x")])]
        ).archive(),
        "circle",
    ),
    (Image([tar([SHELL, file("a"), file("a/x")])]).archive(), "no folder"),
    (Image([tar([file("bin/true", b"", 0o755)])]).archive(), "neither /bin/bash nor /bin/sh"),
    (Image([tar([SHELL, file("big", bytes(2 * MIB))])]).archive(), "bytes"),
    (Image([tar([SHELL, *(file(str(number)) for number in range(1000))])]).archive(), "entries"),
    (Image([bytes(8 * MIB)]).archive(), "larger|bash"),
    (Image([]).archive(), "layers"),
    (Image([_claims(1 << 60)]).archive(), "bytes"),
    (Image([_claims(MIB // 2)]).archive(), "end of data|ended|truncated"),
    (Image([tar([SHELL, _sparse("hole", 2 * MIB)])]).archive(), "bytes"),
    (Image([tar([SHELL, _sparse("less", -(1 << 50)), _sparse("hole", 2 * MIB)])]).archive(), "below 0"),
    (tar([_sparse("index.json", -1)]), "below 0"),
]


@pytest.mark.parametrize(("archive", "said"), BAD, ids=[str(number) for number in range(len(BAD))])
def test_a_bad_archive_is_refused_with_the_reason(tmp_path: Path, archive: bytes, said: str) -> None:
    with pytest.raises((Bad, tarfile.TarError, OSError, EOFError, zlib.error), match=said):
        _unpack(tmp_path, archive)
