"""The job document: what a user sends, checked whole before anything is stored (docs/jobs.md)."""

from collections.abc import Mapping

import msgspec

from jobs.model.furniture import ObjectName, parse_assets, parse_image
from jobs.model.inputs import InputSpec, parse_input
from jobs.model.program import PROGRAM_COMMAND, PackedProgram, parse_program
from jobs.model.properties import JOB, PHASE, check_known
from jobs.model.units import parse_disk, parse_duration, parse_memory, parse_size
from jobs.model.wire import PhaseSpec, TaskKind
from manta.core import limits, names
from manta.core.errors import BadRequest, InvalidArgument, MantaError
from manta.core.json_once import NameTwiceError, decode_once


class Phase(msgspec.Struct, frozen=True):
    """One phase. Sizes in bytes, times in seconds; `count` is the number of reducers (1 for a map phase).

    `split_bytes`: a larger input of a map phase becomes several tasks. `batch`: small inputs that one task takes.
    `program` is a packed Python function, instead of `exec`.
    """

    kind: TaskKind
    exec: str
    init: str | None = None
    memory_bytes: int = limits.TASK_MEMORY_DEFAULT_BYTES
    scratch_bytes: int = limits.TASK_SCRATCH_DEFAULT_BYTES
    timeout_s: float = limits.TASK_TIMEOUT_DEFAULT_S
    count: int = 1
    env: dict[str, str] = {}
    retries: int = 0
    assets: tuple[ObjectName, ...] = ()
    split_bytes: int | None = None
    image: ObjectName | None = None
    cpus: float | None = None
    batch: int = 1
    program: PackedProgram | None = None

    @property
    def program_name(self) -> str | None:
        return None if self.program is None else self.program.name

    @property
    def task_timeout_s(self) -> float:
        """The longest that a task takes: `timeout_s` is of each input of a batch."""
        return self.timeout_s * self.batch


class JobPlan(msgspec.Struct, frozen=True):
    """What a job does with its inputs; they are kept apart. `output` is (bucket, key prefix) for final outputs."""

    name: str
    phases: tuple[Phase, ...]
    output: tuple[str, str] | None = None
    max_errors: int | None = None

    def inline_bytes(self, number: int) -> int:
        """Outputs of that phase up to this size go along in its reports: only reducers ever read them."""
        behind = self.phases[number + 1 : number + 2]
        return limits.INLINE_OUTPUT_BYTES if behind and behind[0].kind is TaskKind.REDUCE else 0

    def spec(self, job_id: str, number: int, tenant: str) -> PhaseSpec:
        """What an agent is told of that phase."""
        phase = self.phases[number]
        return PhaseSpec(
            job_id=job_id,
            phase=number,
            tenant=tenant,
            kind=phase.kind,
            exec=phase.exec if phase.program is None else PROGRAM_COMMAND,
            init=phase.init,
            memory_bytes=phase.memory_bytes,
            scratch_bytes=phase.scratch_bytes,
            timeout_s=phase.timeout_s,
            env=phase.env,
            reducers=phase.count,
            assets=phase.assets,
            image=phase.image,
            cpus=phase.cpus,
            program=phase.program,
            inline_bytes=self.inline_bytes(number),
        )


class JobDocument(msgspec.Struct, frozen=True):
    """The whole document. `end`: no more inputs will be added."""

    plan: JobPlan
    inputs: tuple[InputSpec, ...] = ()
    end: bool = False


def parse_document(body: bytes) -> JobDocument:
    """The document in JSON. BadRequest or NotImplementedHere with one sentence on what is wrong."""
    if len(body) > limits.JSON_MAX_BYTES:
        raise BadRequest(f"The job document has more than {limits.JSON_MAX_BYTES} bytes: add inputs by POST …/inputs.")
    try:
        value = decode_once(body)
    except NameTwiceError as error:
        raise BadRequest(f"In the job document {error}.") from None
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The job document is not JSON: {error}.") from None
    return read_document(value)


def read_document(value: object) -> JobDocument:
    """The document as JSON values."""
    if not isinstance(value, Mapping):
        raise BadRequest("The job document is a JSON object with `phases`.")
    check_known(value, JOB, (), "a job")
    plan = JobPlan(
        name=_text(value, "name", 256) or "",
        phases=_phases(value.get("phases")),
        output=_output(value.get("output")),
        max_errors=_whole(value, "max_errors", 1, 1_000_000_000),
    )
    if len(msgspec.json.encode(plan)) > limits.JOB_DOCUMENT_MAX_BYTES:
        raise BadRequest(f"The job document has more than {limits.JOB_DOCUMENT_MAX_BYTES} bytes besides its inputs.")
    inputs = value.get("inputs")
    if inputs is not None and not isinstance(inputs, list):
        raise InvalidArgument("`inputs` is a list.")
    return JobDocument(plan, tuple(parse_input(item) for item in inputs or ()), _end(value, inputs is not None))


def encode_plan(plan: JobPlan) -> bytes:
    """The form the catalog keeps."""
    return msgspec.json.encode(plan)


def decode_plan(data: bytes) -> JobPlan:
    return msgspec.json.decode(data, type=JobPlan)


def _end(value: Mapping[str, object], has_inputs: bool) -> bool:
    """With `inputs` and no `end` the input is ended."""
    end = value.get("end", has_inputs)
    if not isinstance(end, bool):
        raise InvalidArgument("`end` is true or false.")
    return end


def _phases(value: object) -> tuple[Phase, ...]:
    if not isinstance(value, list) or not value:
        raise InvalidArgument("A job needs `phases`: a list with at least one phase.")
    if len(value) > limits.PHASES_MAX:
        raise InvalidArgument(f"A job has at most {limits.PHASES_MAX} phases, not {len(value)}.")
    return tuple(_phase(item, number) for number, item in enumerate(value))


def _phase(value: object, number: int) -> Phase:
    where = f"phase {number}"
    if not isinstance(value, Mapping):
        raise InvalidArgument(f"{where.capitalize()} is a JSON object with `type` and `exec`.")
    check_known(value, PHASE, (), where)
    kind = _kind(value.get("type"), where)
    if kind is TaskKind.MAP and value.get("count") is not None:
        raise InvalidArgument(f"`count` of {where} is for reduce phases: a map phase has one task per input.")
    program = parse_program(value.get("program"), where)
    memory_bytes = _memory(value)
    return Phase(
        kind=kind,
        exec=_exec(value, where) if program is None else _no_exec(value, where),
        init=_text(value, "init", limits.EXEC_MAX_BYTES) or None,
        memory_bytes=memory_bytes,
        scratch_bytes=parse_disk(value.get("disk"), memory_bytes),
        timeout_s=_timeout(value),
        count=_whole(value, "count", 1, limits.REDUCERS_MAX) or 1,
        env=_env(value.get("env"), where),
        retries=_whole(value, "retries", 0, 100) or 0,
        assets=parse_assets(value.get("assets"), where),
        split_bytes=_split(value, kind, where),
        image=parse_image(value.get("image"), where),
        batch=_batch(value, kind, where),
        cpus=_cpus(value),
        program=program,
    )


def _kind(value: object, where: str) -> TaskKind:
    if isinstance(value, str) and value in ("map", "reduce"):
        return TaskKind(value)
    raise InvalidArgument(f"`type` of {where} is map or reduce, not {value!r}.")


def _exec(value: Mapping[str, object], where: str) -> str:
    command = _text(value, "exec", limits.EXEC_MAX_BYTES)
    if not command or not command.strip():
        raise InvalidArgument(f"`exec` of {where} is missing: the command that each task runs (or a `program`).")
    return command


def _no_exec(value: Mapping[str, object], where: str) -> str:
    if value.get("exec") is not None:
        raise InvalidArgument(f"{where.capitalize()} has both `exec` and `program`: leave one of them out.")
    return ""


def _memory(value: Mapping[str, object]) -> int:
    given = value.get("memory")
    return limits.TASK_MEMORY_DEFAULT_BYTES if given is None else parse_memory(given)


def _split(value: Mapping[str, object], kind: TaskKind, where: str) -> int | None:
    given = value.get("split")
    if given is None:
        return None
    if kind is TaskKind.REDUCE:
        raise InvalidArgument(f"`split` of {where} is for map phases: a reducer reads all that it is given.")
    size = parse_size(given, "split")
    if not limits.SPLIT_MIN_BYTES <= size <= limits.OBJECT_MAX_BYTES:
        least, most = f"{limits.SPLIT_MIN_BYTES >> 10}K", f"{limits.OBJECT_MAX_BYTES >> 40}T"
        raise InvalidArgument(f"`split` is a size from {least} to {most}, not {given!r}.")
    return size


def _batch(value: Mapping[str, object], kind: TaskKind, where: str) -> int:
    batch = _whole(value, "batch", 1, limits.BATCH_INPUTS_MAX) or 1
    if batch > 1 and kind is TaskKind.REDUCE:
        raise InvalidArgument(f"`batch` of {where} is for map phases: a reducer reads all that it is given.")
    if batch * _timeout(value) > limits.TASK_TIMEOUT_MAX_S:
        raise InvalidArgument(f"`batch` of {where} times its `timeout`, which is of each input, is more than 7d.")
    return batch


def _cpus(value: Mapping[str, object]) -> float | None:
    given = value.get("cpus")
    if given is None:
        return None
    least, most = limits.TASK_CPUS_MIN, limits.TASK_CPUS_MAX
    if not isinstance(given, int | float) or isinstance(given, bool) or not least <= given <= most:
        raise InvalidArgument(f"`cpus` is a number from {least:g} to {most:g}, such as 0.5 or 2, not {given!r}.")
    return float(given)


def _timeout(value: Mapping[str, object]) -> float:
    given = value.get("timeout")
    seconds = limits.TASK_TIMEOUT_DEFAULT_S if given is None else parse_duration(given, "timeout")
    if not 0 < seconds <= limits.TASK_TIMEOUT_MAX_S:
        raise InvalidArgument(f"`timeout` is more than 0 and at most {limits.TASK_TIMEOUT_MAX_S / 86400:g}d.")
    return seconds


def _env(value: object, where: str) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidArgument(f"`env` of {where} is an object of names and texts.")
    for name, text in value.items():
        if not name or "=" in name or "\0" in name or not isinstance(text, str) or "\0" in text:
            raise InvalidArgument(f"`env` of {where}: {name!r} is no variable with a text without NUL.")
        if name.startswith("MANTA_"):
            raise InvalidArgument(f"`env` of {where}: names that begin with MANTA_ are the store's own: {name!r}.")
    return dict(value)


def _output(value: object) -> tuple[str, str] | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidArgument("`output` is written s3://bucket/prefix/.")
    try:
        bucket, prefix = names.split_uri(value)
        names.check_new_bucket(bucket)
    except MantaError as error:
        raise InvalidArgument(f"`output` is written s3://bucket/prefix/: {error.message}") from None
    if len(prefix.encode()) > limits.KEY_MAX_BYTES - 64 or "\0" in prefix:
        raise InvalidArgument("The prefix of `output` is too long, or holds NUL.")
    return bucket, prefix


def _text(value: Mapping[str, object], name: str, max_bytes: int) -> str | None:
    text = value.get(name)
    if text is None:
        return None
    if not isinstance(text, str) or "\0" in text:
        raise InvalidArgument(f"`{name}` is a text without NUL.")
    if len(text.encode("utf-8", "surrogatepass")) > max_bytes:
        raise InvalidArgument(f"`{name}` has more than {max_bytes} bytes.")
    return text


def _whole(value: Mapping[str, object], name: str, least: int, most: int) -> int | None:
    number = value.get(name)
    if number is None:
        return None
    if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= most:
        raise InvalidArgument(f"`{name}` is a whole number from {least} to {most}, not {number!r}.")
    return number
