"""A connection that keeps what a reply writes."""

from typing import BinaryIO

from storage_nodes.server.tunnel import Tunnel


class MemoryConnection:
    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    async def drain(self) -> None:
        return

    async def sendfile(self, file: BinaryIO, offset: int, count: int) -> None:
        raise AssertionError("there is no file to send")

    def tunnel(self) -> Tunnel:
        raise AssertionError("nothing is upgraded here")
