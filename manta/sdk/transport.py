"""One signed HTTP call to the jobs API, and every error of boto3 or of the wire as one of ours."""

import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypedDict, Unpack
from urllib.parse import urlencode

import botocore.exceptions
import msgspec
import urllib3
from boto3.s3.transfer import S3TransferRetriesExceededError
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.httpsession import URLLib3Session

from manta.core import errors
from manta.core.errors import MantaError
from manta.sdk.session import Session
from manta.sdk.websocket import WebSocket, connect, new_key, upgrade_headers

API = "/_manta/v1"
PATIENCE_S = 3.0
AWAY_S = 60.0
"""Patience of who waits for a job: a store that is restarted meanwhile is waited for as well."""
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0
_STREAM_SILENCE_S = 30.0
"""A stream says every half second that it lives."""
Query = Mapping[str, str | int | None]
_JSON = "application/json"
_NDJSON = "application/x-ndjson"
_SEND_AT_ONCE = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
"""Without it a body, sent after its head, waits 40 ms for the head's acknowledgement."""


def _by_code() -> dict[str, type[MantaError]]:
    """Every error class by its code; the classes that give a code of their own win over those that inherit it."""
    kinds: dict[str, type[MantaError]] = {}
    pending: list[type[MantaError]] = [MantaError]
    while pending:
        kind = pending.pop()
        if "code" in vars(kind):
            kinds.setdefault(kind.code, kind)
        pending.extend(kind.__subclasses__())
    kinds["NoSuchKey"] = errors.NoSuchKey
    return kinds


_KINDS = _by_code()
_KINDS_BY_STATUS: dict[int, type[MantaError]] = {
    403: errors.AccessDenied,
    404: errors.NotFound,
    412: errors.PreconditionFailed,
    503: errors.ServiceUnavailable,
}


def error_for(code: str, message: str, status: int) -> MantaError:
    """The error that the store answered, as its class; an unknown code keeps its words."""
    kind = _KINDS.get(code) or _KINDS_BY_STATUS.get(status, MantaError)
    return kind(message or kind.default, code=code)


_BARE = {
    "403": "may not be read with these keys.",
    "404": "does not exist.",
    "412": "is not what the condition asks for.",
}


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise boto3's errors as ours; `what` names the thing that was asked for."""
    try:
        yield
    except botocore.exceptions.ClientError as error:
        answer = error.response
        status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        details = answer.get("Error", {})
        code, words = str(details.get("Code", "")), str(details.get("Message", error))
        # A HEAD is answered without a body: boto3 makes up a code and words of its own then.
        message = f"{what} {_BARE[code]}" if code in _BARE else f"{what}: {words}"
        raise error_for(code, message, status) from error
    except botocore.exceptions.EndpointConnectionError as error:
        raise errors.ServiceUnavailable(f"{what}: the store does not answer: is `manta serve` running?") from error
    except botocore.exceptions.BotoCoreError as error:
        raise errors.ServiceUnavailable(f"{what}: {error}") from error
    except S3TransferRetriesExceededError as error:
        raise errors.ServiceUnavailable(f"{what}: {error.last_exception}") from error


def once(key: str | None = None) -> dict[str, str]:
    """Headers with which a request may be repeated while the store is away: under that key, or one of its own."""
    return {"Idempotency-Key": key or secrets.token_hex(16)}


def pauses() -> Iterator[float]:
    """Seconds to wait before each further try, without end."""
    pause_s = _FIRST_PAUSE_S
    while True:
        yield pause_s
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


class Asked(TypedDict, total=False):
    """What a call may say beside its method and path, see `Transport.ask`."""

    query: Query
    body: object
    lines: list[object]
    headers: Mapping[str, str]
    patience_s: float


class Answer(NamedTuple):
    """What the store answered. Names of headers are in any case."""

    content: bytes
    headers: Mapping[str, str]


class Transport:
    """Calls below /_manta/v1, signed exactly like S3's. Safe to share between threads."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._signer = S3SigV4Auth(session.credentials, "s3", session.region)
        self._http = self._connections(90)

    def close(self) -> None:
        self._http.close()

    def call(self, method: str, path: str, **options: Unpack[Asked]) -> bytes:
        """The reply's body."""
        return self.ask(method, path, **options).content

    def json(self, method: str, path: str, **options: Unpack[Asked]) -> Any:
        """The reply's body decoded: of NDJSON a list, of what is no JSON its bytes."""
        content, headers = self.ask(method, path, **options)
        kind = headers.get("Content-Type", _JSON)
        if kind == _NDJSON:
            return [msgspec.json.decode(line) for line in content.splitlines() if line]
        return msgspec.json.decode(content or b"null") if kind == _JSON else content

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: object = None,
        lines: list[object] | None = None,
        headers: Mapping[str, str] | None = None,
        patience_s: float = PATIENCE_S,
    ) -> Answer:
        """`body` is sent as JSON, `lines` as NDJSON.

        Reads, and writes with an Idempotency-Key, are repeated for `patience_s` while the store is away.
        """
        payload = msgspec.json.encode(body) if body is not None else b""
        if lines is not None:
            payload = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        repeatable = method == "GET" or (headers is not None and "Idempotency-Key" in headers)
        patience_s = patience_s if repeatable else 0.0
        return self._patiently(patience_s, method, self._url(path, query), payload, dict(headers or {}))

    def stream(self, path: str, query: Mapping[str, str]) -> Iterator[bytes]:
        """The reply's body in pieces as they come, over a connection of its own."""
        http = self._connections(_STREAM_SILENCE_S)
        url = f"{self._session.url}{API}{path}?{urlencode(query)}"
        request = AWSRequest(method="GET", url=url, stream_output=True)
        self._signer.add_auth(request)
        try:
            answer = http.send(request.prepare())
            if answer.status_code >= 400:
                raise _read_error(answer.status_code, bytes(answer.content))
            yield from answer.raw.stream(decode_content=False)
        except botocore.exceptions.ConnectionError as error:
            raise self._no_answer() from error
        except (botocore.exceptions.HTTPClientError, urllib3.exceptions.HTTPError) as error:
            raise errors.ServiceUnavailable(f"The store at {self._session.url} went away: ask again.") from error
        finally:
            http.close()

    def websocket(self, path: str, query: Mapping[str, str]) -> WebSocket:
        """A WebSocket, once the store has agreed to it."""
        key = new_key()
        request = AWSRequest(
            method="GET", url=f"{self._session.url}{API}{path}?{urlencode(query)}", headers=upgrade_headers(key)
        )
        self._signer.add_auth(request)
        answer, socket = connect(request.url, dict(request.headers.items()), key, self._session.ca_bundle)
        if socket is None:
            raise _read_error(answer.status, answer.body)
        return socket

    def _connections(self, silence_s: float) -> URLLib3Session:
        """`silence_s`: how long a reply may take, or a piece of one."""
        return URLLib3Session(
            verify=self._session.ca_bundle or True, timeout=(10, silence_s), socket_options=_SEND_AT_ONCE
        )

    def _no_answer(self) -> MantaError:
        return errors.ServiceUnavailable(f"The store at {self._session.url} does not answer: is `manta serve` running?")

    def _url(self, path: str, query: Query | None) -> str:
        asked = {name: value for name, value in (query or {}).items() if value is not None}
        return f"{self._session.url}{API}{path}" + (f"?{urlencode(asked)}" if asked else "")

    def _patiently(self, patience_s: float, method: str, url: str, payload: bytes, headers: dict[str, str]) -> Answer:
        """Like `_once`; while the store is away, again for that long."""
        deadline = time.monotonic() + patience_s
        further = pauses()
        while True:
            try:
                return self._once(method, url, payload, headers)
            except MantaError as error:
                pause_s = next(further)
                if not error.retryable or time.monotonic() + pause_s > deadline:
                    raise
            time.sleep(pause_s)

    def _once(self, method: str, url: str, payload: bytes, headers: dict[str, str]) -> Answer:
        request = AWSRequest(method=method, url=url, data=payload, headers=headers)
        self._signer.add_auth(request)
        try:
            answer = self._http.send(request.prepare())
        except botocore.exceptions.BotoCoreError as error:
            raise self._no_answer() from error
        content = bytes(answer.content)
        if answer.status_code >= 400:
            raise _read_error(answer.status_code, content)
        return Answer(content, answer.headers)


def _read_error(status: int, content: bytes) -> MantaError:
    try:
        details = msgspec.json.decode(content)["error"]
        return error_for(str(details["code"]), str(details["message"]), status)
    except (msgspec.DecodeError, KeyError, TypeError):
        return error_for("", f"The store answered {status}.", status)
