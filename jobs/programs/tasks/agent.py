"""One call to the agent of this node, in the frames of ../protocol.py."""

from __future__ import annotations

import _socket
import os

from jobs.programs.tasks.failures import Failed

TYPE_CHECKING = False  # typing itself takes longer to import than all the rest
if TYPE_CHECKING:
    from collections.abc import Iterator

SOCKET_PATH = "/run/manta.sock"
CALL, DATA, END, DONE, FAILED = 1, 2, 3, 4, 5
FRAME_MAX = 64 * 1024


class Agent:
    """One call to the agent of this node."""

    def __init__(self) -> None:
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            self._socket.connect(os.environ.get("MANTA_SOCKET") or SOCKET_PATH)
        except OSError as error:
            raise Failed(f"the node's agent cannot be reached: {error.strerror}") from None
        self._broken: OSError | None = None

    def call(self, *fields: bytes) -> None:
        self._send(CALL, b"\0".join(fields))

    def data(self, block: bytes) -> None:
        view = memoryview(block)
        for start in range(0, len(view), FRAME_MAX):
            self._send(DATA, view[start : start + FRAME_MAX])

    def end(self) -> None:
        self._send(END, b"")

    def answer(self) -> bytes:
        """The payload of DONE."""
        for _ in self.blocks():
            pass
        return self._last

    def blocks(self) -> Iterator[bytes]:
        """The payloads of DATA, until DONE. The agent's refusal is raised."""
        while True:
            head = self._receive(5)
            payload = self._receive(int.from_bytes(head[1:], "big"))
            if head[0] == DATA:
                yield payload
            elif head[0] == DONE:
                self._last = payload
                return
            else:
                code, _, message = payload.decode("utf-8", "replace").partition("\0")
                raise Failed(f"{code}: {message}")

    def _send(self, kind: int, payload: bytes | memoryview) -> None:
        if self._broken is not None:
            return
        try:
            self._socket.sendall(bytes((kind,)) + len(payload).to_bytes(4, "big") + payload)
        except OSError as error:
            self._broken = error  # the agent has refused already: its answer says why

    def _receive(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            try:
                part = self._socket.recv(size - len(found))
            except OSError as error:
                raise Failed(f"the node's agent does not answer: {error.strerror}") from None
            if not part:
                raise Failed("the node's agent ended the call: too many programs at once, or the task is over")
            found += part
        return bytes(found)
