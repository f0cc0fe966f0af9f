"""Values between tasks: what goes in comes out, of the same types, and nothing else is taken for one."""

import io
import pickle
from collections import Counter, OrderedDict
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.model.values import JSON, PICKLE, decode, encode, frames, is_exact_in_json

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
ANY = (
    PLAIN
    | st.binary()
    | st.tuples(PLAIN, PLAIN)
    | st.dictionaries(st.integers(), PLAIN)
    | st.complex_numbers(allow_nan=False)
)


def _reader(data: bytes) -> Callable[[int], bytes]:
    return io.BytesIO(data).read


def _shape(value: object) -> object:
    """What `==` does not tell: 1 is True and 1.0."""
    if isinstance(value, list | tuple):
        return type(value), [_shape(item) for item in value]
    if isinstance(value, dict):
        return type(value), [(_shape(key), _shape(item)) for key, item in value.items()]
    return type(value), repr(value)


@given(st.lists(ANY, max_size=6))
def test_values_come_back_as_they_went(values: list[object]) -> None:
    data = b"".join(encode(value, pickle.dumps) for value in values)
    found = [decode(kind, payload, pickle.loads) for kind, payload in frames(_reader(data))]
    assert [_shape(value) for value in found] == [_shape(value) for value in values]


@given(st.lists(PLAIN, min_size=1, max_size=4), st.integers(1, 9))
def test_a_file_that_was_cut_is_no_file_of_values(values: list[object], missing: int) -> None:
    data = b"".join(encode(value, pickle.dumps) for value in values)
    cut = data[: max(1, len(data) - missing)]
    last = len(encode(values[-1], pickle.dumps))
    if missing >= last:
        return  # another value's end may lie there
    with pytest.raises(ValueError, match="end within"):
        list(frames(_reader(cut)))


@pytest.mark.parametrize("data", [b"x" * 9, b"9 lines\nof text\n", b"J\x01"])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"what a Python function's task wrote|end within"):
        list(frames(_reader(data)))


@pytest.mark.parametrize(
    "value",
    [
        (1, 2),
        Counter("abc"),
        OrderedDict(a=1),
        {1: 2},
        b"x",
        float("nan"),
        float("inf"),
        1 << 63,
        {"a": (1,)},
        [[{2: 3}]],
    ],
)
def test_what_json_would_change_is_a_pickle(value: object) -> None:
    assert not is_exact_in_json(value)
    ((kind, _),) = frames(_reader(encode(value, pickle.dumps)))
    assert kind == PICKLE


def test_deep_and_endless_values_are_left_to_pickle() -> None:
    deep: list[object] = []
    for _ in range(100):
        deep = [deep]
    endless: list[object] = []
    endless.append(endless)
    assert not is_exact_in_json(deep)
    assert not is_exact_in_json(endless)
    ((kind, _),) = frames(_reader(encode([[[1]]], pickle.dumps)))
    assert kind == JSON
