"""The agent's side of the mount broker: starts it, asks it for mounts, notices its death."""

import asyncio
import os
import socket
import struct
import subprocess
import sys
from collections import deque
from pathlib import Path

from jobs.sandbox.building.blueprint import SealedFile
from jobs.sandbox.mounts.together import close_mount
from manta.core.errors import InternalError, NoSuchBlob, SandboxUnavailable

_ANSWER = struct.Struct("<i")
_ANSWER_MAX_BYTES = 4096
_ENOENT, _ENOTDIR = 2, 20
_ASKED_MAX = 64
"""Mounts asked for at a time: the broker makes one after another, and its socket has room for some 270 questions."""


class Broker:
    """One broker process per node. It answers in order; a dead one fails what it was asked and is started again."""

    def __init__(self, blobs_dir: Path, store_uid: int | None) -> None:
        self._blobs_dir = blobs_dir
        self._store_uid = store_uid
        self._program = SealedFile("broker", Path(__file__).with_name("broker.py").read_bytes())
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._starting = asyncio.Lock()
        self._waiting: deque[asyncio.Future[int]] = deque()
        self._places = asyncio.Semaphore(_ASKED_MAX)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """SandboxUnavailable when the kernel refuses what the broker needs."""
        ours = self._spawn()
        try:
            answer = await asyncio.get_running_loop().sock_recv(ours, _ANSWER_MAX_BYTES)
        except BaseException:
            ours.close()
            self._reap()
            raise
        if len(answer) < _ANSWER.size or _ANSWER.unpack_from(answer)[0] != 0:
            ours.close()
            self._reap()
            reason = answer[_ANSWER.size :].decode(errors="replace") or "it ended at its start"
            raise SandboxUnavailable(
                f"The mount broker cannot lock the blobs folder read-only ({reason}): "
                "it needs user namespaces and Linux 5.14 or later."
            )
        self._channel = ours
        asyncio.get_running_loop().add_reader(ours.fileno(), self._on_answer)

    async def mount(self, blob: str) -> int:
        """A descriptor of a detached read-only mount of that blob; the caller closes it."""
        async with self._places:
            if self._channel is None:
                async with self._starting:
                    if self._channel is None:
                        await self.start()
            return await self._ask(blob)

    def stop(self) -> None:
        """End the process; it can be started again."""
        self._fail()

    def close(self) -> None:
        self.stop()
        self._program.close()

    async def _ask(self, blob: str) -> int:
        assert self._channel is not None
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        try:
            self._channel.send(os.fsencode(blob))
        except OSError:
            self._fail()
        try:
            return await answer
        except asyncio.CancelledError:
            close_mount(answer)
            raise

    def _spawn(self) -> socket.socket:
        program = self._program.open()
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError:
            os.close(program)
            raise
        ours.setblocking(False)
        arguments = [sys.executable, "-I", "-S", f"/proc/self/fd/{program}", str(theirs.fileno()), str(self._blobs_dir)]
        try:
            self._process = subprocess.Popen(
                arguments,
                pass_fds=(program, theirs.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                user=self._store_uid,
            )
        except OSError as error:
            ours.close()
            raise SandboxUnavailable(f"The mount broker cannot be started: {error}.") from None
        finally:
            os.close(program)
            theirs.close()
        return ours

    def _on_answer(self) -> None:
        assert self._channel is not None
        try:
            message, descriptors, _, _ = socket.recv_fds(self._channel, _ANSWER_MAX_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            message, descriptors = b"", []
        if not message:
            self._fail()
            return
        self._settle(_ANSWER.unpack_from(message)[0], descriptors)

    def _settle(self, code: int, descriptors: list[int]) -> None:
        answer = self._waiting.popleft()
        if answer.done():  # cancelled meanwhile
            for descriptor in descriptors:
                os.close(descriptor)
        elif code == 0 and descriptors:
            answer.set_result(descriptors[0])
        elif code == 0:
            answer.set_exception(InternalError("The input could not be mounted: this node has too many open files."))
        elif code in (_ENOENT, _ENOTDIR):
            answer.set_exception(NoSuchBlob())
        else:
            answer.set_exception(InternalError(f"The input could not be mounted: {os.strerror(code)}."))

    def _fail(self) -> None:
        """Whatever was asked is lost; the next to ask starts another broker."""
        if self._channel is not None:
            asyncio.get_running_loop().remove_reader(self._channel.fileno())
            self._channel.close()
            self._channel = None
        while self._waiting:
            answer = self._waiting.popleft()
            if not answer.done():
                answer.set_exception(
                    SandboxUnavailable("The mount broker died; it is started again for the next task.")
                )
        self._reap()

    def _reap(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
