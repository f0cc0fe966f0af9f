"""The in-task programs outside of a zone, in C and in Python, and an agent that writes down what they say."""

import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from jobs.programs import install
from jobs.programs.protocol import FRAME_HEAD_BYTES, Kind, decode_head, encode_frame

Language = Literal["c", "python"]
Completed = subprocess.CompletedProcess[bytes]


def install_programs(folder: Path, language: Language) -> Path:
    """The programs as a zone has them, below `folder`; where they are."""
    bin_folder = folder / "bin"
    bin_folder.mkdir(parents=True)
    files = install.programs(folder) if language == "c" else install.python_programs(str(folder / "code"))
    assert (len(files) == 1) is (language == "c"), "a compiler is there"
    for path, content in files.items():
        target = folder / "code" if path.endswith("code") else bin_folder / Path(path).name
        target.write_bytes(content)
        target.chmod(0o755)
    for path, link in install.links().items():
        (bin_folder / Path(path).name).symlink_to(link)
    return bin_folder


@dataclass
class Programs:
    """`run` calls one by its name."""

    folder: Path
    language: Language

    def run(self, name: str, *arguments: str | bytes, given: bytes = b"", socket_path: str = "/none") -> Completed:
        environment = {"MANTA_SOCKET": socket_path, "LANG": "C.UTF-8"}
        command = [self.folder / name, *arguments]
        return subprocess.run(command, input=given, capture_output=True, check=False, env=environment, timeout=60)


@dataclass
class Said:
    """One connection: the fields of its calls, its data, whether it came to its end."""

    fields: list[bytes] = field(default_factory=list)
    data: bytes = b""
    ended: bool = False


@dataclass
class RecordingAgent:
    """`answers` of a verb get the fields of the call and give the DATA frames to send, or the payload of a refusal."""

    path: str
    answers: Mapping[bytes, Callable[[Sequence[bytes]], Sequence[bytes] | bytes]]
    said: list[Said] = field(default_factory=list)

    def serve(self, listener: socket.socket) -> None:
        threads: list[threading.Thread] = []
        while True:
            try:
                guest = listener.accept()[0]
            except OSError:
                break
            self.said.append(Said())
            threads.append(threading.Thread(target=self._serve_one, args=(guest, self.said[-1])))
            threads[-1].start()
        for thread in threads:
            thread.join()

    def _serve_one(self, guest: socket.socket, said: Said) -> None:
        with guest, guest.makefile("rb") as stream:
            while not said.ended:
                head = stream.read(FRAME_HEAD_BYTES)
                if not head:
                    return
                kind, size = decode_head(head)
                payload = stream.read(size)
                if kind is Kind.CALL:
                    said.fields += payload.split(b"\0")
                elif kind is Kind.DATA:
                    said.data += payload
                answer = self.answers.get(said.fields[0])
                if answer is not None:
                    with contextlib.suppress(OSError):  # the program may go away in the middle
                        _answer(guest, answer(said.fields))
                    return
                said.ended = kind is Kind.END
            guest.sendall(encode_frame(Kind.DONE))


def _answer(guest: socket.socket, answer: Sequence[bytes] | bytes) -> None:
    if isinstance(answer, bytes):
        guest.sendall(encode_frame(Kind.FAILED, answer))
        return
    for block in answer:
        guest.sendall(encode_frame(Kind.DATA, block))
    guest.sendall(encode_frame(Kind.DONE))


@contextmanager
def recording_agent(
    folder: Path, answers: Mapping[bytes, Callable[[Sequence[bytes]], Sequence[bytes] | bytes]] | None = None
) -> Iterator[RecordingAgent]:
    path = folder / "agent.sock"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(200)
        agent = RecordingAgent(str(path), answers or {})
        thread = threading.Thread(target=agent.serve, args=(listener,))
        thread.start()
        try:
            yield agent
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
