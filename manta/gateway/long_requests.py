"""Requests that last, or are expensive: how many a gateway serves side by side, and when it must end them."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager

from manta.core import limits
from manta.core.errors import SlowDown, TooManyStreams
from manta.gateway.context import Context
from manta.gateway.http.request import Request


class ConcurrencyLimit(ABC):
    """How many of a kind are served now, by account."""

    def __init__(self) -> None:
        self.open: Counter[str] = Counter()

    @abstractmethod
    def check(self, account_id: str) -> None:
        """SlowDown when one more of the account is too many."""

    @contextmanager
    def taken(self, account_id: str) -> Iterator[None]:
        """The block is one of them. SlowDown."""
        self.check(account_id)
        with self.held(account_id):
            yield

    @contextmanager
    def held(self, account_id: str) -> Iterator[None]:
        """The same, checked before: the head of its answer is sent."""
        self.open[account_id] += 1
        try:
            yield
        finally:
            self.open[account_id] -= 1
            self.open += Counter()  # forgets accounts without any


class Streams(ConcurrencyLimit):
    """Streams of events, or of stderr; who waits for a piece of stderr counts as one."""

    def check(self, account_id: str) -> None:
        if self.open.total() >= limits.EVENT_STREAMS_MAX:
            raise TooManyStreams("This gateway serves as many streams as it can: ask again, or ask without following.")
        if self.open[account_id] >= limits.EVENT_STREAMS_ACCOUNT_MAX:
            raise TooManyStreams(f"The account has {limits.EVENT_STREAMS_ACCOUNT_MAX} streams here: end some of them.")


class Explanations(ConcurrencyLimit):
    """Explanations of jobs."""

    def check(self, account_id: str) -> None:
        if self.open.total() >= limits.EXPLAINS_MAX or self.open[account_id] >= limits.EXPLAINS_ACCOUNT_MAX:
            raise SlowDown("This gateway explains as many jobs as it can: ask again in a while.")


def counted(context: Context, request: Request, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """`chunks` as one of the gateway's streams. TooManyStreams, before any of them, when there are too many."""
    streams = context.shared(Streams)
    streams.check(request.account_id)
    return _counted(streams, request.account_id, chunks)


async def _counted(
    streams: Streams, account_id: str, chunks: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    with streams.held(account_id):
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk


def must_end(context: Context, until_s: float) -> bool:
    """Whether a stream, or who waits, is answered with what there is: the time is up, or the gateway is to end."""
    return context.draining.is_set() or context.clock.monotonic_s() >= until_s
