"""Preconditions and ranges of a read: pure decisions by RFC 9110 §13 and §14, with S3's additions."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum

from manta.core.errors import InvalidArgument, InvalidRange


class Outcome(Enum):
    """What the preconditions say: go on, answer 304, or answer 412."""

    PROCEED = 200
    NOT_MODIFIED = 304
    FAILED = 412


@dataclass(frozen=True, slots=True)
class Span:
    """Some bytes of an object: `length` of them from `start`."""

    start: int
    length: int


def parse_etags(header: str) -> tuple[str, ...]:
    """ETags of an If-Match or If-None-Match, without quotes and weakness; `*` alone is ("*",).

    S3 takes them with or without quotes.
    """
    tags = []
    for piece in header.split(","):
        tag = piece.strip().removeprefix("W/").strip('"')
        if tag:
            tags.append(tag)
    if not tags:
        raise InvalidArgument("An If-Match or If-None-Match header names no ETag.")
    return tuple(tags)


def parse_date_s(header: str) -> int | None:
    """Seconds since the epoch of an HTTP date; None when it is not one (and is then ignored, RFC 9110 §13.1.3)."""
    try:
        date = parsedate_to_datetime(header)
    except (TypeError, ValueError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return _seconds(date)


def _seconds(date: datetime) -> int | None:
    try:
        return int(date.timestamp())
    except (OverflowError, ValueError):
        return None


def evaluate_read(headers: Mapping[str, str], etag: str, modified_s: int, *, prefix: str = "") -> Outcome:
    """The outcome of a GET or HEAD's conditional headers, in RFC 9110's order of precedence (§13.2.2).

    `headers` have lower-case names; `prefix` is "x-amz-copy-source-" for the source of a copy.
    """
    if_match = headers.get(prefix + "if-match")
    if if_match is not None:
        if not matches(parse_etags(if_match), etag):
            return Outcome.FAILED
    else:
        since = _date(headers, prefix + "if-unmodified-since")
        if since is not None and modified_s > since:
            return Outcome.FAILED
    if_none_match = headers.get(prefix + "if-none-match")
    if if_none_match is not None:
        return Outcome.NOT_MODIFIED if matches(parse_etags(if_none_match), etag) else Outcome.PROCEED
    since = _date(headers, prefix + "if-modified-since")
    return Outcome.NOT_MODIFIED if since is not None and modified_s <= since else Outcome.PROCEED


def matches(tags: tuple[str, ...], etag: str) -> bool:
    return tags == ("*",) or etag in tags


def _date(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name)
    return parse_date_s(text) if text is not None else None


def parse_range(header: str, size: int) -> Span | None:
    """The one range asked for, cut to the object; None when the header is to be ignored.

    Several ranges, other units and what is not well formed are ignored: the whole object is sent, as S3 does.
    InvalidRange when nothing of it lies inside the object.
    """
    unit, _, text = header.partition("=")
    first, dash, last = (piece.strip() for piece in text.partition("-"))
    if unit.strip().lower() != "bytes" or not dash or not _digits(first) or not _digits(last) or not first + last:
        return None
    if not first:
        length = min(int(last), size)
        if not length:
            raise out_of_range(header, size)
        return Span(size - length, length)
    start = int(first)
    end = int(last) if last else size - 1
    if last and end < start:
        return None
    if start >= size:
        raise out_of_range(header, size)
    return Span(start, min(end, size - 1) - start + 1)


def _digits(text: str) -> bool:
    return not text or (text.isascii() and text.isdigit() and len(text) <= 19)


def out_of_range(asked: str, size: int) -> InvalidRange:
    return InvalidRange(None, RangeRequested=asked[:80], ActualObjectSize=str(size))
