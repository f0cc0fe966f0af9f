"""The programs' protocol: whatever bytes a task sends, the agent gets a frame, a call, or a refusal in one sentence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.model.outputs import META_PREFIX, check_output_headers
from jobs.programs.protocol import (
    FIELDS_MAX,
    FRAME_HEAD_BYTES,
    FRAME_MAX_BYTES,
    Kind,
    OutputCall,
    decode_head,
    encode_frame,
    join_fields,
    parse_name,
    parse_output,
    split_fields,
)
from jobs.programs.turns import decode_turn, encode_turn
from manta.core.errors import BadRequest, InvalidArgument

FIELDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=50)
BUCKETS = st.from_regex(r"[a-z0-9]{3,20}", fullmatch=True)
KEYS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=200)


@given(st.sampled_from(Kind), st.binary(max_size=500))
def test_frames_come_back(kind: Kind, payload: bytes) -> None:
    frame = encode_frame(kind, payload)
    assert decode_head(frame[:FRAME_HEAD_BYTES]) == (kind, len(payload))
    assert frame[FRAME_HEAD_BYTES:] == payload


@given(st.dictionaries(FIELDS.filter(lambda name: name and "=" not in name), FIELDS, min_size=1))
def test_the_variables_of_a_turn_come_back(variables: dict[str, str]) -> None:
    assert decode_turn(encode_turn(variables)) == variables


@given(st.binary(min_size=FRAME_HEAD_BYTES, max_size=FRAME_HEAD_BYTES))
def test_any_head_is_bounded_or_refused(head: bytes) -> None:
    try:
        kind, length = decode_head(head)
    except InvalidArgument:
        return
    assert 0 <= length <= FRAME_MAX_BYTES
    assert kind in Kind


@given(st.lists(FIELDS, min_size=1, max_size=50))
def test_fields_come_back(fields: list[str]) -> None:
    assert split_fields(join_fields(fields)) == fields


@given(st.binary(max_size=2000))
def test_any_call_is_fields_or_refused(payload: bytes) -> None:
    try:
        fields = split_fields(payload)
    except InvalidArgument:
        return
    assert join_fields(fields) == payload


def test_a_call_has_a_bounded_number_of_fields() -> None:
    with pytest.raises(InvalidArgument):
        split_fields(b"\0" * FIELDS_MAX)


@pytest.mark.invariant("S2")
@given(BUCKETS, KEYS, st.sampled_from(["", "/", "s3://"]))
def test_a_name_is_a_bucket_and_the_very_key(bucket: str, key: str, before: str) -> None:
    """S2: nothing in a key is a path: `..`, newlines and slashes stay as they are."""
    assert parse_name(f"{before}{bucket}/{key}") == (bucket, key)


@given(st.lists(st.one_of(FIELDS, FIELDS.map("name=".__add__), FIELDS.map("reducer=".__add__), st.just("side=1"))))
def test_any_options_are_an_output_or_refused(options: list[str]) -> None:
    try:
        call = parse_output(options)
    except BadRequest:
        return
    assert isinstance(call, OutputCall)
    assert call.reducer is None or 0 <= call.reducer < 1 << 31
    assert call.target is None or (call.target[0] and call.target[1])


@given(st.dictionaries(st.text(max_size=30), st.text(max_size=30), max_size=4))
def test_headers_that_are_kept_can_be_sent(headers: dict[str, str]) -> None:
    """No value with a line end, no name but those that objects keep: they are sent as HTTP headers later."""
    try:
        check_output_headers(headers)
    except BadRequest:
        return
    for name, value in headers.items():
        assert name.isascii()
        assert name.islower()
        assert all(" " <= character <= "~" for character in value)


@pytest.mark.parametrize("value", ["a\r\nset-cookie: x", "a\nb", "\x7f", "é", "a\n"])
def test_header_values_that_would_split_a_reply_are_refused(value: str) -> None:
    with pytest.raises(InvalidArgument):
        check_output_headers({"content-type": value})
    with pytest.raises(InvalidArgument):
        check_output_headers({META_PREFIX + "x": value})
