"""What the root of a zone is made of, as arguments of bubblewrap: the host's /usr, or an image. Pure but for links."""

from collections.abc import Mapping
from pathlib import Path

from jobs.sandbox.building.contents import (
    DEVICE_LINKS,
    DEVICES,
    FOLDERS,
    HOST_ETC,
    IMAGE_FOLDERS,
    SCRATCH_LINKS,
    TERMINAL_LINKS,
    TERMINALS_FOLDER,
    USR_LINKS,
)


def host_root(binds: Mapping[str, Path], *, terminal: bool = False) -> list[str]:
    """The host's /usr and what a program needs besides; /etc is still empty."""
    arguments = ["--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dir", "/dev"]
    for name in USR_LINKS:
        folder = Path("/", name)
        if folder.is_symlink():
            arguments += ["--symlink", str(folder.readlink()), str(folder)]
        elif folder.is_dir():
            arguments += ["--ro-bind", str(folder), str(folder)]
    arguments += _devices(terminal)
    for folder_name in FOLDERS:
        arguments += ["--dir", folder_name]
    for link, target in SCRATCH_LINKS.items():
        arguments += ["--symlink", target, link]
    for name in HOST_ETC:
        arguments += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    for inside, outside in binds.items():
        arguments += ["--ro-bind", str(outside), inside]
    return arguments


def image_root(folder: str, *, terminal: bool = False) -> list[str]:
    """That folder as the root, read-only, with a /dev, and with IMAGE_FOLDERS open for what the zone brings along."""
    arguments = ["--ro-bind", folder, "/", "--proc", "/proc", "--tmpfs", "/dev", *_devices(terminal)]
    arguments += ["--remount-ro", "/dev"]
    for name in IMAGE_FOLDERS:
        arguments += ["--tmpfs", name]
    return arguments


def image_end() -> list[str]:
    """After the last of what is brought along."""
    arguments: list[str] = []
    for name in IMAGE_FOLDERS:
        arguments += ["--remount-ro", name]
    return arguments


def _devices(terminal: bool) -> list[str]:
    arguments = ["--dir", TERMINALS_FOLDER] if terminal else []
    for name in (*DEVICES, "tty") if terminal else DEVICES:
        arguments += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    for link, target in (DEVICE_LINKS | (TERMINAL_LINKS if terminal else {})).items():
        arguments += ["--symlink", target, link]
    return arguments
