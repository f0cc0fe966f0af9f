"""What a task finds in its environment (docs/jobs.md). Pure."""

import re
from collections.abc import Mapping
from typing import Final

from jobs.agent.furnishing.image_cache import Image
from jobs.model.login import LoginSpec
from jobs.model.outputs import base_key
from jobs.model.ranges import Range
from jobs.model.wire import PhaseSpec, TaskKind, TaskLease
from jobs.programs.install import PROGRAMS_FOLDER
from jobs.sandbox.api import INPUT_FOLDER, SCRATCH_FOLDER, input_path
from manta.core.limits import PATH_COMPONENT_MAX_BYTES
from manta.core.names import job_bucket

_UNNAMED: Final = "object"
_OURS: Final = ("HOME", "TMPDIR", "PATH")
_UNFIT: Final = re.compile(r"[\x00/]")

_BASE: Final = {
    "HOME": SCRATCH_FOLDER,
    "PWD": SCRATCH_FOLDER,
    "TMPDIR": SCRATCH_FOLDER,
    "PATH": f"{PROGRAMS_FOLDER}:/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
    "LANG": "C.UTF-8",
}


def input_name(key: str) -> str:
    """The file name an input appears under: the key's last component that is one, fit for a folder.

    Spaces, newlines and other alphabets stay as they are; a name over 255 bytes keeps its end, where the extension is.
    """
    components = [part for part in key.split("/") if part not in ("", ".", "..")]
    name = _UNFIT.sub("_", components[-1]) if components else _UNNAMED
    encoded = name.encode("utf-8", "surrogateescape")
    if len(encoded) <= PATH_COMPONENT_MAX_BYTES:
        return name
    return encoded[-PATH_COMPONENT_MAX_BYTES:].decode("utf-8", "ignore")


def zone_environment(spec: PhaseSpec, image: Image | None = None) -> dict[str, str]:
    """What holds for every task of the zone, and for its init: the user's `env` may replace PATH, never MANTA_*.

    What an image says of its environment comes before the user's, but its home is the scratch folder as everywhere.
    """
    return {
        **_BASE,
        **(_image_environment(image) if image is not None else {}),
        **{name: value for name, value in spec.env.items() if not name.startswith("MANTA_")},
        "MANTA_JOB_ID": spec.job_id,
        "MANTA_PHASE": str(spec.phase),
    }


def _image_environment(image: Image) -> dict[str, str]:
    kept = {name: value for name, value in image.env.items() if name not in _OURS and not name.startswith("MANTA_")}
    if "PATH" in image.env:
        kept["PATH"] = f"{PROGRAMS_FOLDER}:{image.env['PATH']}"
    return {**kept, "MANTA_IMAGE_WORKDIR": image.workdir or "/"}


def task_environment(
    zone: Mapping[str, str], spec: PhaseSpec, lease: TaskLease, lines: Range | None = None
) -> dict[str, str]:
    """The zone's environment and what is this attempt's own; `lines` are those it reads of a larger input."""
    return {**zone, **_own_environment(spec, lease, lines)}


def turn_environment(spec: PhaseSpec, lease: TaskLease, place: int) -> dict[str, str]:
    """The same without the zone's, for an input that has its place among several."""
    environment = _own_environment(spec, lease)
    if lease.input is not None:
        environment["MANTA_INPUT_FILE"] = input_path(place, input_name(lease.input.key))
    return environment


def _own_environment(spec: PhaseSpec, lease: TaskLease, lines: Range | None = None) -> dict[str, str]:
    environment = {"MANTA_ATTEMPT": str(lease.attempt)}
    environment["MANTA_OUTPUT_BASE"] = f"{job_bucket(lease.job_id)}/{base_key(spec.kind, lease.phase, lease.task_id)}"
    if spec.kind is TaskKind.REDUCE:
        environment["MANTA_REDUCER"] = str(lease.reducer)
        environment["MANTA_REDUCERS"] = str(spec.reducers)
    elif lease.input is not None:
        environment["MANTA_INPUT_OBJECT"] = f"{lease.input.bucket}/{lease.input.key}"
        environment["MANTA_INPUT_FILE"] = f"{INPUT_FOLDER}/{input_name(lease.input.key)}"
        if lines is not None:
            environment["MANTA_INPUT_RANGE"] = str(lines)
    return environment


def login_environment(spec: LoginSpec) -> dict[str, str]:
    """A session's: a job's variables it has none of."""
    environment = {**_BASE, "TERM": spec.term}
    if spec.kind is TaskKind.MAP:
        (ref,) = spec.inputs
        environment["MANTA_INPUT_OBJECT"] = f"{ref.bucket}/{ref.key}"
        environment["MANTA_INPUT_FILE"] = f"{INPUT_FOLDER}/{input_name(ref.key)}"
    return environment
