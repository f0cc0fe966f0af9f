"""What a zone's root holds, whichever driver builds it: the host's /usr, an /etc of its own, five devices. Pure."""

from typing import Final

from jobs.sandbox.api import ASSETS_FOLDER, INPUT_FOLDER, SCRATCH_FOLDER, ZONE_FOLDER

DEVICES: Final = ("null", "zero", "full", "random", "urandom")
USR_LINKS: Final = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
HOST_ETC: Final = ("alternatives", "ld.so.cache", "localtime")
ETC: Final = {
    "passwd": b"root:x:0:0:root:/scratch:/bin/bash\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
    "group": b"root:x:0:\nnogroup:x:65534:\n",
    "hosts": b"127.0.0.1 localhost\n::1 localhost\n",
    "nsswitch.conf": b"passwd: files\ngroup: files\nhosts: files\n",
}
FOLDERS: Final = (SCRATCH_FOLDER, INPUT_FOLDER, ZONE_FOLDER, "/etc", "/var")
SCRATCH_LINKS: Final = {"/tmp": SCRATCH_FOLDER, "/var/tmp": SCRATCH_FOLDER}  # noqa: S108 - inside the zone
DEVICE_LINKS: Final = {
    "/dev/fd": "/proc/self/fd",
    "/dev/stdin": "/proc/self/fd/0",
    "/dev/stdout": "/proc/self/fd/1",
    "/dev/stderr": "/proc/self/fd/2",
    "/dev/shm": SCRATCH_FOLDER,  # noqa: S108 - inside the zone
}
TERMINALS_FOLDER: Final = "/dev/pts"
"""Where a task with a terminal mounts a devpts of its own, and by what name programs ask it for more terminals."""
TERMINAL_LINKS: Final = {"/dev/ptmx": "pts/ptmx"}
IMAGE_FOLDERS: Final = ("/run", "/manta", ASSETS_FOLDER)
"""Of an image: what a zone brings along lies in these."""
IMAGE_MOUNT_POINTS: Final = ("/proc", "/dev", *IMAGE_FOLDERS, SCRATCH_FOLDER, INPUT_FOLDER, ZONE_FOLDER)
"""Real folders in every image's root: a link there would lead a mount astray."""
