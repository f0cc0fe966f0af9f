"""How bubblewrap is told to build a zone: its command line."""

import contextlib
from typing import Final

from jobs.sandbox.api import ZONE_FOLDER
from jobs.sandbox.building.blueprint import Blueprint, Interior, SealedFile
from jobs.sandbox.building.contents import ETC
from jobs.sandbox.building.roots import host_root, image_end, image_root

_UNSHARE: Final = ("user", "ipc", "pid", "net", "uts", "cgroup")


def arguments(blueprint: Blueprint, bubblewrap: str, interior: Interior, channel: int, opened: list[int]) -> list[str]:
    """The command line; descriptors it names are added to `opened`, for the caller to pass on and close."""

    def passed(file: SealedFile) -> int:
        opened.append(file.open())
        return opened[-1]

    words = [bubblewrap, *(f"--unshare-{kind}" for kind in _UNSHARE)]
    words += ["--uid", "0", "--gid", "0", "--cap-add", "ALL", "--die-with-parent", "--as-pid-1"]
    # A second user namespace under the one that owns the zone's mounts: a taken-over fork server cannot change those.
    words += ["--disable-userns"]
    words += ["--clearenv", "--hostname", "zone", "--chdir", "/"]
    if interior.image is not None:
        words += image_root(interior.seen(interior.image), terminal=interior.terminal)
    else:
        words += host_root(blueprint.binds, terminal=interior.terminal)
        for name, content in ETC.items():
            with contextlib.closing(SealedFile(name, content)) as file:
                words += ["--perms", "0444", "--file", str(passed(file)), f"/etc/{name}"]
    for path, program_file in blueprint.programs.items():
        words += ["--perms", "0555", "--file", str(passed(program_file)), path]
    for path, target in blueprint.links.items():
        words += ["--symlink", target, path]
    for path, content in interior.files.items():
        with contextlib.closing(SealedFile(path.rpartition("/")[2], content)) as file:
            words += ["--perms", "0555", "--file", str(passed(file)), path]
    for inside, outside in interior.binds.items():
        words += ["--ro-bind", outside, inside]
    for inside, outside in interior.assets.items():
        words += ["--ro-bind", interior.seen(outside), inside]
    for inside, outside in interior.workplaces.items():
        words += ["--bind", interior.seen(outside), inside]
    if interior.zone_folder_bytes:
        words += ["--size", str(interior.zone_folder_bytes), "--tmpfs", ZONE_FOLDER]
    words += image_end() if interior.image is not None else []
    words += ["--remount-ro", "/", "--seccomp", str(passed(blueprint.zone_filter)), "--"]
    program = passed(blueprint.program.file)
    return words + blueprint.program.command(program, channel, passed(blueprint.task_filter), interior.joins)
