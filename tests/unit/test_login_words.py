"""What client, gateway and node say of a login session, and what is refused."""

import pytest

from jobs.agent.zones.environment import login_environment
from jobs.model.login import (
    LoginEnd,
    LoginSpec,
    decode_end,
    decode_resize,
    encode_end,
    encode_resize,
    encode_spec,
    fit_term,
)
from jobs.model.login_request import parse_login
from jobs.model.wire import InputRef, TaskKind
from manta.cli.raw_terminal import Escape
from manta.core.errors import BadRequest, MantaError
from manta.core.limits import (
    EXEC_MAX_BYTES,
    LOGIN_OBJECTS_MAX,
    LOGIN_PING_S,
    LOGIN_SILENCE_S,
    LOGIN_SPEC_MAX_BYTES,
    LOGIN_TIMEOUT_MAX_S,
    ORPHAN_GRACE_S,
)
from manta.core.peers import PeerSource


def test_a_map_session() -> None:
    asked = parse_login(
        {
            "object": "s3://books/a b/c",
            "memory": "64M",
            "timeout": "2h",
            "rows": "50",
            "term": "xterm",
            "X-Amz-Date": "",
        }
    )
    assert (asked.kind, asked.objects) == (TaskKind.MAP, (("books", "a b/c"),))
    assert (asked.memory_bytes, asked.timeout_s, asked.rows, asked.columns, asked.term) == (
        64 << 20,
        7200.0,
        50,
        80,
        "xterm",
    )


def test_a_reduce_session() -> None:
    asked = parse_login({"reduce": "1", "objects": '["s3://books/a", "s3://books/b", "s3://books/a"]'})
    assert (asked.kind, asked.objects) == (TaskKind.REDUCE, (("books", "a"), ("books", "b")))
    assert parse_login({"reduce": "1"}).objects == ()


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ({}, "object="),
        ({"object": "books/a"}, "s3://"),
        ({"object": "s3://books"}, "names no object"),
        ({"object": "s3://books/a", "colour": "1"}, "colour"),
        ({"object": "s3://books/a", "memory": "1K"}, "memory"),
        ({"object": "s3://books/a", "memory": "65G"}, "memory"),
        ({"object": "s3://books/a", "disk": "0"}, "disk"),
        ({"object": "s3://books/a", "disk": "193M"}, "192M of 256M"),
        ({"object": "s3://books/a", "timeout": "13h"}, "12h"),
        ({"object": "s3://books/a", "timeout": "0"}, "timeout"),
        ({"object": "s3://books/a", "rows": "-1"}, "rows"),
        ({"object": "s3://books/a", "plain": "maybe"}, "plain"),
        ({"object": "s3://books/a", "command": "x" * (EXEC_MAX_BYTES + 1)}, "command"),
        ({"reduce": "1", "objects": "s3://books/a"}, "JSON"),
        ({"reduce": "1", "objects": str(["s3://books/a"] * (LOGIN_OBJECTS_MAX + 1)).replace("'", '"')}, "at most"),
    ],
)
def test_what_is_refused_names_what_is_wrong(query: dict[str, str], word: str) -> None:
    with pytest.raises(MantaError) as refused:
        parse_login(query)
    assert refused.value.status == 400
    assert word in refused.value.message


def test_the_largest_session_can_be_described() -> None:
    source = PeerSource("n" * 63, "http://" + "h" * 60 + ":65535", "1.123456789012." + "f" * 64)
    ref = InputRef("b" * 63, "k" * 1024, 1 << 40, "0" * 32, (source,) * 3)
    spec = LoginSpec("a" * 64, TaskKind.REDUCE, (ref,) * LOGIN_OBJECTS_MAX, 1, 1, 1.0, command="x" * EXEC_MAX_BYTES)
    assert len(encode_spec(spec)) <= LOGIN_SPEC_MAX_BYTES


def test_limits_fit_each_other() -> None:
    assert LOGIN_SILENCE_S > 3 * LOGIN_PING_S
    assert LOGIN_TIMEOUT_MAX_S <= ORPHAN_GRACE_S / 2


def test_messages_come_back() -> None:
    assert decode_resize(encode_resize(24, 80)) == (24, 80)
    assert decode_resize(b'{"resize": [-5, 99999999]}') == (0, 10_000)
    end = LoginEnd(None, 9, "It was ended.")
    assert decode_end(encode_end(end)) == end


@pytest.mark.parametrize(
    "text", [b"", b"{}", b'{"resize": [1]}', b'{"resize": [1, 2], "exec": "x"}', b"\xff", b"[" * 9999]
)
def test_other_messages_are_refused(text: bytes) -> None:
    with pytest.raises(BadRequest):
        decode_resize(text)


def test_an_odd_terminal_is_a_dumb_one() -> None:
    assert fit_term("xterm-256color") == "xterm-256color"
    assert [fit_term(name) for name in ("", "../etc", "a b", "x" * 65, "-x", "a\n")] == ["dumb"] * 6


def test_no_variable_of_a_job_is_there() -> None:
    ref = InputRef("books", "sea/moby.txt", 5, None)
    environment = login_environment(LoginSpec("a", TaskKind.MAP, (ref,), 1, 1, 1.0, term="vt100"))
    assert environment["MANTA_INPUT_FILE"] == "/input/moby.txt"
    assert environment["MANTA_INPUT_OBJECT"] == "books/sea/moby.txt"
    assert {name for name in environment if name.startswith("MANTA_")} == {"MANTA_INPUT_FILE", "MANTA_INPUT_OBJECT"}
    assert environment["TERM"] == "vt100"


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ([b"ls ~.\r"], b"ls ~.\r"),
        ([b"~."], None),
        ([b"ls\r", b"~", b"."], None),
        ([b"~~.\r"], b"~.\r"),
        ([b"~/x\r~", b"user"], b"~/x\r~user"),
        ([b"\n~\n~."], None),
    ],
)
def test_the_escape_is_seen_at_the_beginning_of_a_line(typed: list[bytes], sent: bytes | None) -> None:
    escape = Escape()
    passed = [escape.filter(piece) for piece in typed]
    assert (None if None in passed else b"".join(filter(None, passed))) == sent
