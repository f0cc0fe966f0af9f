"""A stream of lines that breaks is gone on with where it broke, without its end (`manta.sdk.following`)."""

from collections.abc import Iterator

import pytest

from manta.core.errors import AccessDenied, MantaError, ServiceUnavailable, TooManyStreams
from manta.sdk.following import Following, Line
from manta.sdk.transport import AWAY_S


class _Streams:
    """Streams one after another: pieces, and the error that broke them. Time passes while it is slept alone."""

    def __init__(self, *streams: tuple[bytes | MantaError, ...]) -> None:
        self._streams = list(streams)
        self.places: list[str] = []
        self.now_s = 0.0

    def begin(self, place: str) -> Iterator[bytes]:
        self.places.append(place)
        for piece in self._streams.pop(0):
            if isinstance(piece, MantaError):
                raise piece
            yield piece

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def lines(self) -> Iterator[Line]:
        return iter(Following(self.begin, lambda: self.now_s, self.sleep))


_OVER = b'{"over":true}\n'


def test_a_stream_that_ends_early_is_gone_on_with_behind_what_was_reached() -> None:
    streams = _Streams(
        (b'\n{"task":1,"text":"a"}\n{"task":2,"te', b'xt":"b"}\n{"reached":"n1","number":7}\n'),
        (b'{"task":3,"text":"c"}\n{"reached":"n2","number":9}\n', b'{"task":4,"text":"cut off"}\n{"rea'),
        (b'{"task":4,"text":"d"}\n{"reached":"n1","number":8}\n' + _OVER,),
    )
    assert [line["text"] for line in streams.lines()] == ["a", "b", "c", "d"]
    assert streams.places == ["", "n1:7", "n1:7,n2:9"]


def test_what_is_missing_at_the_end_is_told() -> None:
    streams = _Streams((b'{"missing":"n1"}\n' + _OVER,))
    assert list(streams.lines()) == [{"missing": "n1"}]


def test_who_is_refused_hears_so_at_once() -> None:
    streams = _Streams((b'{"refused":"n1","message":"Too many."}\n', _OVER))
    assert list(streams.lines()) == [{"refused": "n1", "message": "Too many."}]


def test_a_store_that_is_away_is_waited_for_and_not_for_ever() -> None:
    away = ServiceUnavailable("away")
    streams = _Streams((b"\n", away), *[(away,)] * 20, (b"\n", away), *[(away,)] * 200)
    with pytest.raises(ServiceUnavailable, match="away"):
        list(streams.lines())
    assert AWAY_S < streams.now_s < 2 * AWAY_S + 5
    assert len(streams.places) > 50, "what it said in between counts"


def test_a_store_that_broke_off_while_somebody_was_slow_to_take_lines_is_asked_again() -> None:
    """A pager, say, in which nobody turns the page."""
    streams = _Streams((b'{"task":1}\n{"reached":"n1","number":7}\n', ServiceUnavailable("away")), (_OVER,))
    lines = streams.lines()
    assert next(lines) == {"task": 1}
    streams.sleep(2 * AWAY_S)
    assert list(lines) == []
    assert streams.places == ["", "n1:7"]


@pytest.mark.parametrize("refusal", [AccessDenied("no"), TooManyStreams("no")], ids=["access", "streams"])
def test_a_refusal_is_not_asked_again(refusal: MantaError) -> None:
    streams = _Streams((refusal,))
    with pytest.raises(type(refusal)):
        list(streams.lines())
    assert len(streams.places) == 1
