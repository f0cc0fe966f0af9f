"""The arguments of `manta job run` and `create`: phase options belong to the phase that follows them. Pure."""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from jobs.model.inputs import as_object
from jobs.model.properties import JOB, PHASE, check_known
from manta.core.errors import InvalidArgument
from manta.core.json_once import NameTwiceError, decode_once

_PHASES = {"-m": "map", "--map": "map", "-r": "reduce", "--reduce": "reduce"}
_PHASE_OPTIONS = {
    "--memory": "memory",
    "--disk": "disk",
    "--cpus": "cpus",
    "--timeout": "timeout",
    "--count": "count",
    "--init": "init",
    "--asset": "assets",
    "--image": "image",
    "--env": "env",
    "--split": "split",
    "--batch": "batch",
    "--retries": "retries",
}
_JOB_OPTIONS = {"--name": "name", "--output": "output", "--max-errors": "max_errors"}
_OTHERS = {"--map", "--reduce", "--wait", "--file", "--where"}
_SIGNS = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
_CONDITION = re.compile(
    r"(?:(?P<kind>size|modified)(?=[<>])|metadata\.(?P<name>[^=<>]+)(?==))(?P<sign><=|>=|<|>|=)(?P<value>.*)", re.DOTALL
)
_INTEGERS = {"batch", "count", "max_errors", "retries", "--wait"}
_INTEGER_MAX_DIGITS = 12
_SHOWN_CHARS = 80
USAGE = "manta job run [PHASE OPTIONS] -m CMD [[PHASE OPTIONS] -r CMD] [--name N] [--output s3://B/P/] INPUT…"


@dataclass(slots=True)
class JobArguments:
    """A job document in the making. `inputs` of `-` alone means: read them from stdin, one per line."""

    phases: list[dict[str, object]] = field(default_factory=list)
    inputs: list[str | dict[str, object]] = field(default_factory=list)
    properties: dict[str, object] = field(default_factory=dict)
    json: bool = False
    timeout_s: float | None = None
    where: dict[str, dict[str, str]] = field(default_factory=dict)


def parse(arguments: Sequence[str], read: Callable[[str], bytes]) -> JobArguments:
    """InvalidArgument says which argument is wrong and shows the usage. `read` gives a file's content, for --file."""
    result = JobArguments()
    pending: dict[str, object] = {}
    words = iter(_split_equals(arguments))
    for word in words:
        if word == "--json":
            result.json = True
        elif word in _PHASES:
            result.phases.append({"type": _PHASES[word], "exec": _value(word, words), **pending})
            pending = {}
        elif word in _PHASE_OPTIONS:
            _set_phase_option(pending, _PHASE_OPTIONS[word], _value(word, words))
        elif word in _JOB_OPTIONS:
            name = _JOB_OPTIONS[word]
            result.properties[name] = _typed(name, _value(word, words))
        elif word == "--where":
            _take_condition(result.where, _value(word, words))
        elif word == "--file":
            _take_document(result, _value(word, words), read)
        elif word == "--wait":
            result.timeout_s = float(_typed("--wait", _value(word, words)))
        elif word.startswith("-") and word != "-":
            raise InvalidArgument(f"There is no option {word}. Usage: {USAGE}")
        else:
            result.inputs.append(word)
    return _whole(result, pending)


def require_inputs(arguments: JobArguments) -> None:
    """InvalidArgument for a job without any, or of a misspelt property, which may be why there are none."""
    if arguments.inputs:
        return
    check_known(arguments.properties, JOB, (), "a job")
    for number, phase in enumerate(arguments.phases):
        check_known(phase, PHASE, (), f"phase {number}")
    raise InvalidArgument(f"A job needs at least one INPUT. Usage: {USAGE}")


def _whole(result: JobArguments, pending: dict[str, object]) -> JobArguments:
    """With what was written behind the last phase, and the conditions for every input."""
    if pending and len(result.phases) == 1:
        # With a single phase there is no doubt which one is meant.
        result.phases[0] |= pending
    elif pending:
        names = ", ".join(option for option, name in _PHASE_OPTIONS.items() if name in pending)
        raise InvalidArgument(f"{names} stands behind the last phase; options go before the -m or -r they belong to.")
    if result.where:
        result.inputs = [_chosen(item, result.where) for item in result.inputs]
    if not result.phases:
        raise InvalidArgument(f"A job needs at least one phase. Usage: {USAGE}")
    return result


def _take_condition(where: dict[str, dict[str, str]], condition: str) -> None:
    found = _CONDITION.fullmatch(condition)
    if found is None:
        raise InvalidArgument(
            f"--where is such as 'size>=10M', 'modified<2026-01-31' or 'metadata.NAME=TEXT': {condition!r}."
        )
    kind, name, sign, value = found.group("kind", "name", "sign", "value")
    if name is None:
        where.setdefault(kind, {})[_SIGNS[sign]] = value
    else:
        where.setdefault("metadata", {})[name] = value


def _chosen(item: str | dict[str, object], where: dict[str, dict[str, str]]) -> dict[str, object]:
    """The input with the conditions, which the store checks."""
    if item == "-":
        raise InvalidArgument("--where is for inputs on the command line: leave it out, or the - for stdin.")
    return {**(as_object(item) if isinstance(item, str) else item), "where": where}


def _take_document(result: JobArguments, name: str, read: Callable[[str], bytes]) -> None:
    """Phases, inputs and properties of a job document; what else the command line says is added to it."""
    try:
        document = msgspec.convert(decode_once(read(name)), dict[str, Any])
    except OSError as error:
        raise InvalidArgument(f"{name} cannot be read: {error.strerror}.") from None
    except NameTwiceError as error:
        raise InvalidArgument(f"In the job document {name} {error}.") from None
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{name} is no job document: {error}.") from None
    result.phases += _listed(name, document, "phases", (dict,), "objects")
    result.inputs += _listed(name, document, "inputs", (str, dict), "strings and objects")
    document.pop("end", None)
    result.properties |= document


def _listed(name: str, document: dict[str, Any], key: str, kinds: tuple[type, ...], what: str) -> list[Any]:
    """What the document has under that key, none if it has no such key."""
    value = document.pop(key, [])
    if isinstance(value, list) and all(isinstance(one, kinds) for one in value):
        return value
    raise InvalidArgument(f"In the job document {name} `{key}` is a list of {what}, not {_cut(repr(value))}.")


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"


def _split_equals(arguments: Sequence[str]) -> list[str]:
    words: list[str] = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        known = name in _PHASE_OPTIONS or name in _JOB_OPTIONS or name in _OTHERS
        words += [name, value] if equals and known else [argument]
    return words


def _value(option: str, words: Iterator[str]) -> str:
    value = next(words, None)
    if value is None:
        raise InvalidArgument(f"{option} needs a value.")
    if value in _PHASES:
        raise InvalidArgument(f"{option} needs a value before {value}.")
    return value


def _typed(name: str, value: str) -> float | str:
    if name == "cpus":
        return _number(value)
    if name not in _INTEGERS:
        return value
    if not value.isdecimal():
        raise InvalidArgument(f"{name} is a whole number, not {_cut(repr(value))}.")
    digits = value.lstrip("0") or "0"
    if len(digits) > _INTEGER_MAX_DIGITS:  # of thousands Python reads none, and no clock holds hundreds
        raise InvalidArgument(f"{name} has at most {_INTEGER_MAX_DIGITS} digits, not {len(digits):,}.")
    return int(digits)


def _number(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InvalidArgument(f"--cpus is a number such as 0.5 or 2, not {_cut(repr(value))}.")
    return number


def _set_phase_option(pending: dict[str, object], name: str, value: str) -> None:
    if name == "env":
        key, equals, content = value.partition("=")
        if not equals:
            raise InvalidArgument(f"--env is K=V, not {value!r}.")
        environment = pending.setdefault("env", {})
        assert isinstance(environment, dict)
        environment[key] = content
    elif name == "assets":
        assets = pending.setdefault("assets", [])
        assert isinstance(assets, list)
        assets.append(value)
    else:
        pending[name] = _typed(name, value)
