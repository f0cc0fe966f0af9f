"""Packing functions on the client: what travels, what cannot, and that it is refused before anything is sent."""

import base64
import functools
import operator
import pickle
import re
import sys
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cloudpickle
import pytest

from jobs.model.document import read_document
from jobs.model.program import PackedProgram, parse_program
from manta.core import limits
from manta.core.errors import InvalidArgument
from manta.sdk import Store
from manta.sdk.packing import Step, pack_map, pack_reduce
from manta.sdk.session import Session
from tests.support import word_helpers

PACKED = {"name": "count", "python": "3.11", "code": base64.b64encode(b"code").decode()}


def _packed(function: Callable[..., Any]) -> dict[str, str]:
    return pack_map([Step("map", function)])


def _bytes(program: dict[str, str]) -> bytes:
    return zlib.decompress(base64.b64decode(program["code"]))


def test_a_packed_function_is_taken_by_a_document() -> None:
    program = _packed(word_helpers.words)
    assert program["name"] == "words"
    assert program["python"] == f"{sys.version_info.major}.{sys.version_info.minor}"
    plan = read_document({"phases": [{"type": "map", "program": program}]}).plan
    packed = plan.phases[0].program
    assert packed is not None
    (steps, fold) = pickle.loads(zlib.decompress(packed.code))
    assert fold is None
    assert [word.text for word in steps[0][1]("The Whale")] == ["whale"]


def test_functions_of_local_modules_travel_by_value() -> None:
    data = _bytes(_packed(lambda o: word_helpers.words(o.text())))
    assert b"STOP" in data
    assert b"lower" in data
    assert not cloudpickle.list_registry_pickle_by_value()


class _Pause:
    """Says that it is being packed, and goes on when told to, or after a while."""

    def __init__(self, leave: threading.Event) -> None:
        self.entered = threading.Event()
        self._leave = leave

    def __reduce__(self) -> tuple[Any, ...]:
        self.entered.set()
        self._leave.wait(0.3)
        return int, ()


def test_threads_pack_side_by_side() -> None:
    """What one of them packs by value, another one that ends meanwhile must not take back."""
    first_done = threading.Event()
    second = _Pause(first_done)
    first = _Pause(second.entered)

    def pack(pause: _Pause) -> bytes:
        return _bytes(pack_map([Step("map", lambda o: pause), Step("map", word_helpers.words)]))

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(pack, first)
        one.add_done_callback(lambda _: first_done.set())
        assert first.entered.wait(10)
        other = pool.submit(pack, second)
        assert b"STOP" in one.result()
        assert b"STOP" in other.result()


def test_functions_with_a_cache_travel_too() -> None:
    """Recursive ones, those of local modules, and those of libraries, by name."""

    @functools.lru_cache(maxsize=7)
    def fibonacci(number: int) -> int:
        return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)

    data = _bytes(_packed(lambda n: (fibonacci(n), word_helpers.shout("a"))))
    (((_, function),), _) = pickle.loads(data)
    assert function(50) == (12_586_269_025, "A!")
    (copy,) = [cell.cell_contents for cell in function.__closure__]
    assert copy is not fibonacci
    assert copy.cache_parameters() == {"maxsize": 7, "typed": False}
    assert copy.cache_info().currsize == 7
    assert len(_bytes(_packed(re._compile_repl))) < 300  # type: ignore[attr-defined]


def test_functions_of_libraries_travel_by_name() -> None:
    data = _bytes(pack_reduce(operator.add))
    assert b"_operator" in data
    assert len(data) < 200


@pytest.mark.parametrize(
    ("function", "name"),
    [(functools.partial(operator.add, 1), "add"), (Store.exists, "Store.exists")],
)
def test_the_name_is_what_a_reader_would_call_it(function: Callable[..., Any], name: str) -> None:
    assert pack_reduce(function)["name"] == name


def test_what_cannot_be_packed_is_named() -> None:
    lock = threading.Lock()
    with pytest.raises(InvalidArgument, match=r"cannot be packed: TypeError.*lock"):
        _packed(lambda o: lock)


@pytest.mark.invariant("S7")
def test_keys_do_not_travel() -> None:
    session = Session("http://127.0.0.1:1", "KEY", "very-secret")
    with Store(session) as store:
        for held in (session, store):
            with pytest.raises(InvalidArgument, match="it holds your keys"):
                _packed(lambda o, held=held: held)


def test_a_function_with_large_data_is_refused_with_the_way_out() -> None:
    data = b"".join(
        bytes([number * number % 251]) + number.to_bytes(4, "big") for number in range(limits.PROGRAM_MAX_BYTES)
    )
    with pytest.raises(InvalidArgument, match="name that in `assets`"):
        _packed(lambda o: data)


def test_a_document_with_a_large_program_is_refused() -> None:
    code = base64.b64encode(bytes(limits.PROGRAM_MAX_BYTES + 1)).decode()
    with pytest.raises(InvalidArgument, match=f"more than {limits.PROGRAM_MAX_BYTES:,}"):
        parse_program({**PACKED, "code": code}, "phase 0")
    code = base64.b64encode(bytes(limits.PROGRAM_MAX_BYTES)).decode()
    assert parse_program({**PACKED, "code": code}, "phase 0") == PackedProgram(
        "count", "3.11", bytes(limits.PROGRAM_MAX_BYTES)
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": ""}, "`name`"),
        ({"name": "a\nb"}, "`name`"),
        ({"name": "x" * 129}, "`name`"),
        ({"python": "3"}, "`python`"),
        ({"python": "3.11; rm"}, "`python`"),
        ({"python": 3.11}, "`python`"),
        ({"code": ""}, "`code`"),
        ({"code": "no base64!"}, "`code`"),
        ({"code": None}, "`code`"),
        ({"cade": ""}, "did you mean `code`"),
    ],
)
def test_what_is_wrong_with_a_program_is_named(change: dict[str, object], told: str) -> None:
    with pytest.raises(InvalidArgument, match=told.replace("`", "`")):
        read_document({"phases": [{"type": "map", "program": {**PACKED, **change}}]})


def test_a_phase_has_a_command_or_a_program() -> None:
    with pytest.raises(InvalidArgument, match="both `exec` and `program`"):
        read_document({"phases": [{"type": "map", "exec": "wc", "program": PACKED}]})
    with pytest.raises(InvalidArgument, match="`program` of phase 0 is an object"):
        read_document({"phases": [{"type": "map", "program": "def f(): ..."}]})
