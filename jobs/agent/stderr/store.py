"""What tasks said on stderr: a small file per task, bounded in total and gone with its job (O2)."""

import asyncio
import contextlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from jobs.agent.stderr.feed import Feeds, Said, Saying
from jobs.model.questions import StderrTail
from manta.core.clock import Clock
from manta.core.errors import InsufficientStorage
from manta.core.limits import RECENT_STDERR_MAX, STDERR_DISK_FRACTION, STDERR_TOTAL_MAX_BYTES
from manta.core.names import check_job_id
from storage_nodes.disk import space

_FILE_BLOCK_BYTES: Final = 4096
_NOTHING: Final = StderrTail(0, 0, b"")


def _remove_in_thread(folder: Path) -> None:
    asyncio.get_running_loop().run_in_executor(None, shutil.rmtree, folder, True)


class StderrStore:
    """Files `<folder>/<job>/<task>`. The oldest jobs' go first; the newest job alone never pushes itself out.

    What does not fit then is dropped: of a job that alone fills the room, what its first tasks said is kept.
    """

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        total_max_bytes: int = STDERR_TOTAL_MAX_BYTES,
        remove: Callable[[Path], object] = _remove_in_thread,
    ) -> None:
        self._folder = folder
        self._total_max = total_max_bytes
        self._remove_folder = remove
        self._bytes: dict[str, int] = {}
        self._total = 0
        self._live: dict[tuple[str, int], tuple[int, Saying]] = {}
        """The attempt that runs, and its stderr."""
        self._recent: dict[tuple[str, int], tuple[int, int]] = {}
        """The attempt that ended lately, and how many bytes it said."""
        self.feeds = Feeds(clock, self._live_of, self._recent_of)
        self.dropped = 0

    def load(self) -> None:
        """Take stock of what an earlier agent kept. Reads every folder: not for the event loop."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._total_max = space.share(str(self._folder), STDERR_DISK_FRACTION, self._total_max)
        for job in sorted(self._folder.iterdir()):
            used = sum(_blocks(file.stat().st_size) for file in job.iterdir())
            self._bytes[job.name] = used
            self._total += used

    def watch(self, job_id: str, task_id: int, attempt: int, live: Saying) -> None:
        """A task runs: until `keep`, its stderr is what `live` has. An attempt that was lost may not have ended yet."""
        if self._live.get((job_id, task_id), (attempt, live))[0] != attempt:
            self.feeds.forget(job_id, task_id)
        self._live[job_id, task_id] = attempt, live

    def forget(self, job_id: str, task_id: int, attempt: int) -> None:
        """It is gone; a further attempt that runs already is not."""
        if (live := self._live.get((job_id, task_id))) is not None and live[0] == attempt:
            del self._live[job_id, task_id]
            self.feeds.forget(job_id, task_id)

    def keep(self, job_id: str, task_id: int, attempt: int, data: bytes) -> None:
        """The stderr of an ended attempt; it replaces that of an earlier one, unless a further one runs."""
        latest, saying = self._live.get((job_id, task_id), (attempt, Said(data)))
        if latest > attempt:
            return
        self._live.pop((job_id, task_id), None)
        self.feeds.ended(job_id, task_id, saying)
        if attempt > 1:
            self._drop(job_id, task_id)
        if not data:
            return
        size = _blocks(len(data))
        try:
            if not self._make_room(job_id, size):
                self.dropped += 1
                return
            space.require(str(self._folder), size)
            if job_id not in self._bytes:
                (self._folder / check_job_id(job_id)).mkdir(exist_ok=True)
                self._bytes[job_id] = 0
            self._file(job_id, task_id).write_bytes(data)
        except (OSError, InsufficientStorage):
            self.dropped += 1
            return
        self._bytes[job_id] += size
        self._total += size
        self._remember(job_id, task_id, attempt, saying.said)

    def read(self, job_id: str, task_id: int, attempt: int = 0) -> StderrTail:
        """What is kept, or what a running task said so far; none when it said nothing or the job is forgotten.

        With `attempt` that one's alone: none where a further one has ended since, or the agent started anew.
        """
        running, saying = self._live.get((job_id, task_id), (0, None))
        if saying is not None and attempt in (0, running):
            return StderrTail(running, saying.said, saying.tail())
        try:
            data = self._file(job_id, task_id).read_bytes()
        except FileNotFoundError:
            return _NOTHING
        kept, said = self._recent.get((job_id, task_id), (0, len(data)))
        return StderrTail(kept, said, data) if attempt in (0, kept) else _NOTHING

    def jobs(self) -> tuple[str, ...]:
        """Those of which something is kept."""
        return tuple(self._bytes)

    def forget_jobs(self, job_ids: Iterable[str]) -> None:
        """They are gone, and so is what their tasks said; others are none of ours."""
        for job_id in job_ids:
            if job_id in self._bytes:
                self._remove(job_id)

    @property
    def total_bytes(self) -> int:
        return self._total

    def _live_of(self, job_id: str) -> list[tuple[int, Saying]]:
        return [(task_id, live) for (name, task_id), (_, live) in self._live.items() if name == job_id]

    def _recent_of(self, job_id: str) -> Iterator[tuple[int, bytes]]:
        for name, task_id in self._recent:
            if name == job_id and (job_id, task_id) not in self._live:
                yield task_id, self.read(job_id, task_id).data

    def _remember(self, job_id: str, task_id: int, attempt: int, said: int) -> None:
        self._recent.pop((job_id, task_id), None)
        self._recent[job_id, task_id] = attempt, said
        if len(self._recent) > RECENT_STDERR_MAX:
            del self._recent[next(iter(self._recent))]

    def _file(self, job_id: str, task_id: int) -> Path:
        return self._folder / check_job_id(job_id) / str(int(task_id))

    def _make_room(self, job_id: str, size: int) -> bool:
        while self._total + size > self._total_max:
            oldest = min((other for other in self._bytes if other != job_id), default=None)
            if oldest is None or oldest > job_id:
                return False
            self._remove(oldest)
        return True

    def _drop(self, job_id: str, task_id: int) -> None:
        """What an earlier attempt of that task said, if it said something here."""
        if job_id not in self._bytes:
            return
        with contextlib.suppress(FileNotFoundError):
            size = _blocks(self._file(job_id, task_id).stat().st_size)
            self._file(job_id, task_id).unlink()
            self._bytes[job_id] -= size
            self._total -= size

    def _remove(self, job_id: str) -> None:
        self._total -= self._bytes.pop(job_id)
        self._remove_folder(self._folder / job_id)


def _blocks(size: int) -> int:
    return -(-size // _FILE_BLOCK_BYTES) * _FILE_BLOCK_BYTES
