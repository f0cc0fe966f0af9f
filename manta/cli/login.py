"""`manta login`: an interactive shell in the sandbox, on an object, at a node that holds it."""

import json
import os
import selectors
import signal
import sys
import termios
import time
from collections.abc import Callable
from typing import Annotated, Final

import typer

from jobs.model.login import LoginEnd, decode_end, encode_resize
from manta.cli import output
from manta.cli.closed_terminal import said_by_closed
from manta.cli.exit_codes import FAILED, INTERRUPTED
from manta.cli.raw_terminal import ENDING, Escape, RawTerminal, size
from manta.core.errors import InvalidArgument, ServiceUnavailable
from manta.core.limits import LOGIN_SILENCE_S, TUNNEL_BYTES
from manta.core.websocket import Kind
from manta.sdk import connect
from manta.sdk.websocket import WebSocket

_SIGNALED: Final = 128
_HUNG_UP: Final = _SIGNALED + signal.SIGHUP
_READ_BYTES: Final = 16 * 1024


class _Left(Exception):
    """The user left, or was sent away by a signal; `status` is the exit code."""

    def __init__(self, status: int) -> None:
        self.status = status


def login(
    objects: Annotated[list[str] | None, typer.Argument(metavar="s3://BUCKET/KEY…", show_default=False)] = None,
    reduce: Annotated[
        bool, typer.Option("--reduce", help="As a reducer: on any number of objects, files below /input.")
    ] = False,
    command: Annotated[str | None, typer.Option("-c", help="Run this instead of a shell.")] = None,
    memory: Annotated[str | None, typer.Option(help="As in 1G; 256M unless you say otherwise.")] = None,
    disk: Annotated[str | None, typer.Option(help="Scratch space, as in 128M; at most 3/4 of the memory.")] = None,
    timeout: Annotated[str | None, typer.Option(help="The longest it may last, as in 2h.")] = None,
) -> None:
    """Open a shell at a terminal in the sandbox, on an object, at a node that holds it.

    The object is read-only at $MANTA_INPUT_FILE. The session ends, with everything in it, when the connection does.
    `~.` at the beginning of a line leaves a session that does not answer.
    """
    terminal = sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()
    if not terminal and command is None:
        raise InvalidArgument("A session needs a terminal on stdin and stdout; for a single command use -c CMD.")
    query = _query(objects or [], reduce=reduce, command=command)
    options = {"memory": memory, "disk": disk, "timeout": timeout}
    query |= {name: value for name, value in options.items() if value is not None}
    if terminal:
        rows, columns = size(sys.stdin.fileno())
        query |= {"rows": str(rows), "columns": str(columns), "term": os.environ.get("TERM", "dumb")}
    else:
        query["plain"] = "1"
    with connect() as store:
        socket = store.login(query)
        try:
            end = _watched(socket) if terminal else _listen(socket)
        except _Left as left:
            raise typer.Exit(left.status) from None
        finally:
            socket.close()
    raise typer.Exit(_status(end))


def _query(objects: list[str], *, reduce: bool, command: str | None) -> dict[str, str]:
    if reduce:
        query = {"reduce": "1", "objects": json.dumps(objects)}
    elif len(objects) == 1:
        query = {"object": objects[0]}
    else:
        raise InvalidArgument("A session is on one object, s3://bucket/key; with --reduce on any number of them.")
    return query | ({"command": command} if command is not None else {})


def _status(end: LoginEnd) -> int:
    if end.reason:
        output.console().print(f"manta: {end.reason}")
        return FAILED
    if end.signal is not None:
        return _SIGNALED + end.signal
    return FAILED if end.exit_status is None else end.exit_status


def _watched(socket: WebSocket) -> LoginEnd:
    """At a terminal, until that is closed: then it leaves as by SIGHUP, which may come later than the first EIO."""
    try:
        return _at_terminal(socket)
    except (OSError, termios.error) as error:
        if said_by_closed(error):
            raise _Left(_HUNG_UP) from None
        raise


def _at_terminal(socket: WebSocket) -> LoginEnd:
    """The user's terminal and the session's, until either ends."""
    escape = Escape()
    with RawTerminal() as terminal, selectors.DefaultSelector() as selector:

        def typed() -> None:
            data = escape.filter(_read(terminal.input))
            if data is None:
                raise _Left(FAILED)
            if data:
                socket.send(Kind.BINARY, data)

        def signaled() -> None:
            for number in terminal.signals():
                if number in ENDING:
                    raise _Left(_SIGNALED + number)
                if number == signal.SIGCONT:
                    terminal.take()
                socket.send(Kind.TEXT, encode_resize(*size(terminal.input)))

        selector.register(terminal.wakeup, selectors.EVENT_READ, signaled)
        selector.register(terminal.input, selectors.EVENT_READ, typed)
        return _converse(socket, selector, terminal.input)


def _listen(socket: WebSocket) -> LoginEnd:
    """A command without a terminal: its output alone."""
    with selectors.DefaultSelector() as selector:
        try:
            return _converse(socket, selector, None)
        except KeyboardInterrupt:
            raise _Left(INTERRUPTED) from None


def _converse(socket: WebSocket, selector: selectors.BaseSelector, source: int | None) -> LoginEnd:
    """What is registered calls its data; `source` is not read while the connection takes nothing."""
    end = LoginEnd(reason="The session ended without a word.")
    heard_s = time.monotonic()
    selector.register(socket, selectors.EVENT_READ, lambda: None)
    registered: dict[int, Callable[[], None]] = {key.fd: key.data for key in selector.get_map().values()}
    arrived = True
    while True:
        if arrived:
            heard_s = time.monotonic()
            for message in socket.receive():
                if message.kind is Kind.BINARY:
                    _write(sys.stdout.fileno(), message.data)
                elif message.kind is Kind.TEXT:
                    end = decode_end(message.data)
                elif message.kind is Kind.PING:
                    socket.send(Kind.PONG, message.data)
                elif message.kind is Kind.CLOSE:
                    socket.send_close()
                    return end
        elif time.monotonic() - heard_s > LOGIN_SILENCE_S:
            raise ServiceUnavailable("The store is silent: the session is given up.")
        writing = selectors.EVENT_WRITE if socket.backlog else 0
        selector.modify(socket, selectors.EVENT_READ | writing, registered[socket.fileno()])
        if source is not None:
            _watch(selector, source, registered[source], on=socket.backlog < TUNNEL_BYTES)
        arrived = False
        for key, _ in selector.select(LOGIN_SILENCE_S / 4):
            arrived = arrived or key.fileobj is socket
            key.data()
        socket.flush()


def _watch(selector: selectors.BaseSelector, source: int, call: Callable[[], None], *, on: bool) -> None:
    watched = source in selector.get_map()
    if on and not watched:
        selector.register(source, selectors.EVENT_READ, call)
    elif watched and not on:
        selector.unregister(source)


def _read(descriptor: int) -> bytes:
    """What was typed. A raw terminal has no other end than its closing."""
    data = os.read(descriptor, _READ_BYTES)
    if not data:
        raise _Left(_HUNG_UP)
    return data


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
