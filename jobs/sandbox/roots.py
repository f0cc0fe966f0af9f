"""What the root of a zone is made of, as arguments of bubblewrap: the host's /usr, or an image. Pure but for links."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from jobs.sandbox.api import ASSETS_FOLDER, INPUT_FOLDER, SCRATCH_FOLDER, ZONE_FOLDER

IMAGE_FOLDERS: Final = ("/run", "/manta", ASSETS_FOLDER)
"""Of an image: what a zone brings along is mounted in these, closed again by `image_end`."""
IMAGE_MOUNT_POINTS: Final = ("/proc", "/dev", *IMAGE_FOLDERS, SCRATCH_FOLDER, INPUT_FOLDER, ZONE_FOLDER)
"""Real folders in every image's root: a link there would lead a mount astray."""
_DEVICES: Final = ("null", "zero", "full", "random", "urandom")
_USR_LINKS: Final = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_HOST_ETC: Final = ("alternatives", "ld.so.cache", "localtime")


def host_root(binds: Mapping[str, Path]) -> list[str]:
    """The host's /usr and what a program needs besides; /etc is still empty."""
    arguments = ["--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dir", "/dev"]
    for name in _USR_LINKS:
        folder = Path("/", name)
        if folder.is_symlink():
            arguments += ["--symlink", str(folder.readlink()), str(folder)]
        elif folder.is_dir():
            arguments += ["--ro-bind", str(folder), str(folder)]
    arguments += _devices()
    for folder_name in (SCRATCH_FOLDER, INPUT_FOLDER, ZONE_FOLDER, "/etc", "/var"):
        arguments += ["--dir", folder_name]
    for link in ("/tmp", "/var/tmp"):  # noqa: S108 - names inside the zone; all lead to the task's scratch
        arguments += ["--symlink", SCRATCH_FOLDER, link]
    for name in _HOST_ETC:
        arguments += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    for inside, outside in binds.items():
        arguments += ["--ro-bind", str(outside), inside]
    return arguments


def image_root(folder: str) -> list[str]:
    """That folder as the root, read-only, with a /dev, and with IMAGE_FOLDERS open for what the zone brings along."""
    arguments = ["--ro-bind", folder, "/", "--proc", "/proc", "--tmpfs", "/dev", *_devices(), "--remount-ro", "/dev"]
    for name in IMAGE_FOLDERS:
        arguments += ["--tmpfs", name]
    return arguments


def image_end() -> list[str]:
    """After the last of what is brought along."""
    arguments: list[str] = []
    for name in IMAGE_FOLDERS:
        arguments += ["--remount-ro", name]
    return arguments


def _devices() -> list[str]:
    arguments: list[str] = []
    for name in _DEVICES:
        arguments += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        arguments += ["--symlink", f"/proc/self/fd{target}", f"/dev/{name}"]
    return [*arguments, "--symlink", SCRATCH_FOLDER, "/dev/shm"]  # noqa: S108 - inside the zone
