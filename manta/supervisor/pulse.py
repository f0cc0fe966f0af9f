"""Finds a child that lives but no longer answers, and ends it so that its stacks are kept and a new one starts."""

import asyncio
import logging
import signal
import time
from dataclasses import dataclass

from manta.supervisor.child import Child, Keeper

_REQUEST = b"GET /_manta/health HTTP/1.1\r\nHost: pulse\r\nConnection: close\r\n\r\n"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PulseRule:
    """A child that has answered nothing for `silent_s` is taken to hang."""

    interval_s: float = 5.0
    answer_s: float = 5.0
    silent_s: float = 30.0
    dying_s: float = 5.0


async def answers(url: str, timeout_s: float) -> bool:
    """Whether anything comes back from `unix:/path` or `http://host:port`; a refusal for want of a key is an answer."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await _connect(url)
            writer.write(_REQUEST)
            return bool(await reader.read(1))
    except (OSError, TimeoutError):
        return False
    finally:
        if writer is not None:
            writer.transport.abort()


async def _connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if url.startswith("unix:"):
        return await asyncio.open_unix_connection(url.removeprefix("unix:"))
    host, _, port = url.removeprefix("http://").rpartition(":")
    return await asyncio.open_connection(host.strip("[]"), int(port))


async def watch(keeper: Keeper, url: str, rule: PulseRule) -> None:
    """Until cancelled. SIGABRT makes the child write its stacks; SIGKILL follows when it cannot even do that."""
    seen: Child | None = None
    answered_s = time.monotonic()
    while True:
        await asyncio.sleep(rule.interval_s)
        child = keeper.child
        if child is not seen or await answers(url, rule.answer_s):
            seen, answered_s = child, time.monotonic()
        elif child is not None and time.monotonic() - answered_s > rule.silent_s:
            _log.warning("%s has not answered for %.0f s: it is ended.", keeper.program.name, rule.silent_s)
            child.signal(signal.SIGABRT)
            await asyncio.sleep(rule.dying_s)
            child.signal(signal.SIGKILL)
