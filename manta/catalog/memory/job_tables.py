"""Jobs' tables in dictionaries. Each method is the statement of its name in the SQL engines, arguments alike."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

from jobs.model.states import JobState, TaskState
from manta.catalog.job_scripts.job_row import JobRow
from manta.catalog.task_records import TaskRow

_ENDED = (JobState.DONE, JobState.CANCELLED)
_SAVED = [
    "state",
    "ended_ms",
    "input_ended",
    "cancel_reason",
    "cursor",
    "next_task",
    "inputs",
    "outputs",
    "errors",
    "running",
    "in_place",
    "moved",
    "shuffled",
    "task_ms",
    "tend",
    "doomed",
    "retry",
    "outputs_gone",
    "errors_gone",
    "byte_seconds",
    "doubled",
    "clone_of",
    "clone_after",
    "ending",
    "retry_until",
    "copied",
]

_SAVED_OF_TASK = [
    "state",
    "attempt",
    "node_id",
    "epoch",
    "leased_ms",
    "faults",
    "losses",
    "failures",
    "slot",
    "holders",
    "started_ms",
    "ended_ms",
    "earlier",
]


class MemoryJobTables:
    """`tasks` and the like are by job and number; their order is that of the numbers."""

    def __init__(self) -> None:
        self.jobs: dict[str, JobRow] = {}
        self.idempotency: dict[tuple[str, str], str] = {}
        self.phase_rows: dict[str, dict[int, list[Any]]] = {}
        self.chunks: dict[str, dict[int, list[Any]]] = {}
        self.chunk_keys: dict[tuple[str, str], int] = {}
        self.task_rows: dict[str, dict[int, TaskRow]] = {}
        self.elder_rows: dict[str, dict[int, tuple[Any, ...]]] = {}
        self.ready: dict[str, dict[tuple[str, int], int]] = {}
        self.shuffle: dict[str, dict[tuple[int, int, int], tuple[Any, ...]]] = {}
        self.output_rows: dict[str, dict[int, tuple[Any, ...]]] = {}
        self.error_rows: dict[str, dict[int, bytes]] = {}
        self.agents: dict[str, tuple[str, int]] = {}
        self.usage: dict[tuple[str, int], list[int]] = {}

    # jobs

    def job_insert(self, *values: Any) -> list[tuple[Any, ...]]:
        job_id, owner, name, state, created_ms, plan, ended, once, clone_of = values
        self.jobs[job_id] = JobRow(
            job_id, owner, name, state, created_ms, None, plan, ended, None, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0,
            clone_of=clone_of,
        )  # fmt: skip
        if once is not None:
            self.idempotency[owner, once] = job_id
        return [(job_id,)]

    def job_by_idempotency(self, owner: str, once: str) -> list[tuple[Any, ...]]:
        found = self.idempotency.get((owner, once))
        return [(found,)] if found is not None else []

    def job_get(self, job_id: str) -> list[tuple[Any, ...]]:
        return [_astuple(self.jobs[job_id])] if job_id in self.jobs else []

    job_lock = job_try_lock = job_get

    def job_save(self, *values: Any) -> None:
        job = self.jobs[values[-1]]
        for name, value in zip(_SAVED, values[:-1], strict=True):
            setattr(job, name, value)

    def job_delete(self, job_id: str) -> None:
        del self.jobs[job_id]
        self.idempotency = {key: value for key, value in self.idempotency.items() if value != job_id}

    def jobs_page(self, *page: Any) -> list[tuple[Any, ...]]:
        return self.jobs_page_of("", *page)

    def jobs_page_of(self, owner: str, state: str, name: str, before: str, limit: int) -> list[tuple[Any, ...]]:
        found = (
            job
            for job_id, job in sorted(self.jobs.items(), reverse=True)
            if job_id < before
            and owner in ("", job.owner_id)
            and state in ("", job.state)
            and name in ("", job.name)
            and not job.doomed
        )
        return [_astuple(job) for job in islice(found, limit)]

    def jobs_to_tend(self, told_ms: int, limit: int) -> list[tuple[Any, ...]]:
        found = (job.job_id for job in self.jobs.values() if job.tend and not job.may_be_owed(told_ms))
        return [(job_id,) for job_id in islice(found, limit)]

    def jobs_expired(self, before_ms: int, limit: int) -> list[tuple[Any, ...]]:
        found = (
            job
            for job in self.jobs.values()
            if job.ended_ms is not None and job.ended_ms < before_ms and not job.doomed
        )
        return [(job.job_id,) for job in islice(found, limit)]

    def jobs_live(self, job_ids: list[str]) -> list[tuple[Any, ...]]:
        return [(one,) for one in job_ids if one in self.jobs and self.jobs[one].state not in _ENDED]

    def jobs_known(self, job_ids: list[str]) -> list[tuple[Any, ...]]:
        return [(one,) for one in job_ids if one in self.jobs and not self.jobs[one].doomed]

    # phases

    def phase_insert(self, job_id: str, number: int, kind: str, reducers: int, waiting: int) -> None:
        row = [number, kind, reducers, waiting, 0, 0, 0, 0, 0, 0, 0, 0]
        self.phase_rows.setdefault(job_id, {})[number] = row

    def phases(self, job_id: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.phase_rows.get(job_id, {}).values()]

    def phase_save(self, *values: Any) -> None:
        self.phase_rows[values[-2]][values[-1]][3:] = values[:-2]

    def phases_delete(self, job_id: str) -> None:
        self.phase_rows.pop(job_id, None)

    # inputs as written

    def chunk_insert(self, job_id: str, chunk: int, specs: bytes, total: int, once: str | None) -> None:
        self.chunks.setdefault(job_id, {})[chunk] = [specs, total, 0, "", 0]
        if once is not None:
            self.chunk_keys[job_id, once] = chunk

    def chunk_by_idempotency(self, job_id: str, once: str) -> list[tuple[Any, ...]]:
        found = self.chunk_keys.get((job_id, once))
        return [(found,)] if found is not None else []

    def chunk_last(self, job_id: str) -> list[tuple[Any, ...]]:
        return [(max(self.chunks.get(job_id, {0: []})),)]

    def chunk_next(self, job_id: str) -> list[tuple[Any, ...]]:
        rows = self.chunks.get(job_id, {})
        return [(number, row[0], row[2], row[3]) for number, row in rows.items() if not row[4]][:1]

    def chunk_save(self, position: int, after: str, done: int, job_id: str, chunk: int) -> None:
        self.chunks[job_id][chunk][2:] = [position, after, done]

    def chunks_page(self, job_id: str, after: int, limit: int) -> list[tuple[Any, ...]]:
        rows = self.chunks.get(job_id, {}).items()
        return [(number, row[0], row[1]) for number, row in rows if number > after][:limit]

    def chunk_take(self, job_id: str, limit: int) -> list[tuple[Any, ...]]:
        return [(number,) for number in islice(self.chunks.get(job_id, {}), limit)]

    def chunk_delete(self, job_id: str, chunk: int) -> None:
        self.chunk_keys = {at: found for at, found in self.chunk_keys.items() if (at[0], found) != (job_id, chunk)}
        del self.chunks[job_id][chunk]

    # tasks

    def task_insert(self, *values: Any) -> None:
        task = TaskRow(*values)
        rows = self.task_rows.setdefault(task.job_id, {})
        is_last = task.task_id > next(reversed(rows), 0)
        rows[task.task_id] = task
        if not is_last:  # an input that left its batch
            self.task_rows[task.job_id] = dict(sorted(rows.items()))

    def task_save(self, *values: Any) -> None:
        *saved, job_id, task_id = values
        task = self.task_rows[job_id][task_id]
        self.task_rows[job_id][task_id] = task._replace(**dict(zip(_SAVED_OF_TASK, saved, strict=True)))

    def tasks(self, job_id: str, task_ids: list[int]) -> list[tuple[Any, ...]]:
        rows = self.task_rows.get(job_id, {})
        return [rows[task_id] for task_id in task_ids if task_id in rows]

    def tasks_open(self, job_id: str, after: int, limit: int) -> list[tuple[Any, ...]]:
        rows = self.task_rows.get(job_id, {}).values()
        return list(islice((row for row in rows if row.task_id > after and not TaskState(row.state).ended), limit))

    def tasks_uncut(self, job_id: str, limit: int) -> list[tuple[Any, ...]]:
        rows = self.task_rows.get(job_id, {}).values()
        return list(islice((row for row in rows if row.state == TaskState.WAITING and row.phase >= 0), limit))

    def tasks_page(self, job_id: str, after: int, limit: int) -> list[tuple[Any, ...]]:
        rows = self.task_rows.get(job_id, {}).values()
        return list(islice((row for row in rows if row.task_id > after), limit))

    def tasks_window(self, job_id: str, after: int, last: int, state: int, limit: int) -> list[tuple[Any, ...]]:
        rows = self.task_rows.get(job_id, {}).values()
        found = (row for row in rows if after < row.task_id <= last and row.phase >= 0 and state in (-1, row.state))
        return list(islice(found, limit))

    def tasks_of_node(self, node_id: str) -> list[tuple[Any, ...]]:
        elders = (
            self.task_rows[job_id][row[0]]._replace(
                attempt=row[1], node_id=row[2], epoch=row[3], leased_ms=row[4], slot=row[5]
            )
            for job_id, rows in self.elder_rows.items()
            for row in rows.values()
        )
        return [row for row in (*self._running(), *elders) if row.node_id == node_id]

    def attempts_of_node(self, node_id: str) -> list[tuple[Any, ...]]:
        return [(row[0], row[1], row[4]) for row in self.tasks_of_node(node_id)]

    def elders(self, job_id: str) -> list[tuple[Any, ...]]:
        return list(self.elder_rows.get(job_id, {}).values())

    def elder_save(self, job_id: str, *row: Any) -> None:
        self.elder_rows.setdefault(job_id, {})[row[0]] = row

    def elder_delete(self, job_id: str, task_id: int) -> None:
        del self.elder_rows[job_id][task_id]

    def tasks_of_job(self, job_id: str, limit: int) -> list[tuple[Any, ...]]:
        return list(islice((row for row in self._running() if row.job_id == job_id), limit))

    def is_slot(self, blob_id: str) -> bool:
        """Whether a running attempt may be writing that blob."""
        elders = (row for rows in self.elder_rows.values() for row in rows.values())
        return any(row.slot == blob_id for row in self._running()) or any(row[5] == blob_id for row in elders)

    def _running(self) -> Iterable[TaskRow]:
        return (row for rows in self.task_rows.values() for row in rows.values() if row.state == TaskState.RUNNING)

    def task_shrink(self, *values: Any) -> None:
        members, size, bucket, key, version_id, blob_id, first_input, job_id, task_id = values
        self.task_rows[job_id][task_id] = self.task_rows[job_id][task_id]._replace(
            members=members, size=size, bucket=bucket, key=key, version_id=version_id, blob_id=blob_id,
            first_input=first_input,
        )  # fmt: skip

    def inputs_recorded(self, job_id: str, after: int, limit: int) -> list[tuple[Any, ...]]:
        rows = self.task_rows.get(job_id, {}).values()
        found = (row for row in rows if row.phase < 0 and row.task_id > after)
        return [(row.task_id, row.reducer, row.state) for row in islice(found, limit)]

    def input_end(self, state: int, job_id: str, task_id: int) -> None:
        self.task_rows[job_id][task_id] = self.task_rows[job_id][task_id]._replace(state=state)

    def inputs_page(self, job_id: str, phase: int, after: int, last: int, limit: int) -> list[tuple[Any, ...]]:
        rows = self.task_rows.get(job_id, {}).values()
        found = (row for row in rows if row.phase == phase and after < row.task_id <= last)
        return [
            (row.task_id, row.state, row.bucket, row.key, row.version_id, row.range_start, row.range_end, row.members)
            for row in islice(found, limit)
        ]

    def task_take(self, job_id: str, limit: int) -> list[tuple[Any, ...]]:
        rows = self.task_rows.get(job_id, {}).values()
        return [(row.task_id, row.state, row.blob_id) for row in islice(rows, limit)]

    def task_delete(self, job_id: str, task_id: int) -> None:
        del self.task_rows[job_id][task_id]

    # the ready queue

    def ready_insert(self, node_id: str, _owner: str, job_id: str, task_id: int, since_ms: int) -> None:
        self.ready.setdefault(node_id, {}).setdefault((job_id, task_id), since_ms)

    def ready_delete(self, node_id: str, _owner: str, job_id: str, task_id: int) -> None:
        self.ready.get(node_id, {}).pop((job_id, task_id), None)

    def ready_any(self, *node_ids: str) -> list[tuple[Any, ...]]:
        return [(1,)] if any(self.ready.get(node_id) for node_id in node_ids) else []

    def ready_accounts(self, node_id: str, limit: int) -> list[tuple[Any, ...]]:
        found = sorted({self.jobs[job_id].owner_id for job_id, _ in self.ready.get(node_id, {})})[:limit]
        return [(one, sum(job.running for job in self.jobs.values() if job.owner_id == one)) for one in found]

    def ready_jobs(self, node_id: str, owner: str, limit: int) -> list[tuple[Any, ...]]:
        queue = self.ready.get(node_id, {})
        found = sorted({job_id for job_id, _ in queue if self.jobs[job_id].owner_id == owner})[:limit]
        return [(one, self.jobs[one].owner_id, self.jobs[one].running) for one in found]

    def ready_tasks(self, node_id: str, _owner: str, job_id: str, limit: int) -> list[tuple[Any, ...]]:
        queue = self.ready.get(node_id, {})
        numbers = sorted(task_id for one, task_id in queue if one == job_id)[:limit]
        return [self.task_rows[job_id][number] for number in numbers]

    def ready_nodes(self) -> list[tuple[Any, ...]]:
        return [(node_id,) for node_id in sorted(self.ready) if self.ready[node_id]]

    def ready_window(self, node_id: str, *after_and_limit: Any) -> list[tuple[Any, ...]]:
        *after, limit = after_and_limit
        queue = self.ready.get(node_id, {})
        rows = sorted((self.jobs[key[0]].owner_id, *key, since) for key, since in queue.items())
        found = [row for row in rows if row[:3] > tuple(after)][:limit]
        tasks = [self.task_rows[row[1]][row[2]] for row in found]
        return [(*row, task.blob_id, task.holders) for row, task in zip(found, tasks, strict=True)]

    def ready_placed(self, places: list[list[Any]]) -> list[tuple[Any, ...]]:
        return [tuple(one) for one in places if (one[2], one[3]) in self.ready.get(one[0], {})]

    def ready_reducers(self, before_ms: int, after_ms: int, limit: int) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        for node_id, queue in self.ready.items():
            for (job_id, number), since in queue.items():
                task = self.task_rows[job_id][number]
                anyone = (job_id, number) in self.ready.get("", {})
                old = not before_ms <= since <= after_ms
                if node_id and not task.bucket and old and not anyone:
                    found.append((node_id, job_id, number, since))
        return found[:limit]

    # what reducers read

    def shuffle_insert(self, job_id: str, phase: int, reducer: int, seq: int, *values: Any) -> None:
        self.shuffle.setdefault(job_id, {})[phase, reducer, seq] = values

    def shuffle_weights(self, job_id: str, phase: int) -> list[tuple[Any, ...]]:
        rows = self.shuffle.get(job_id, {}).items()
        return [(key[1], row[4], row[2]) for key, row in rows if key[0] == phase and row[4]]

    def shuffle_page(self, job_id: str, phase: int, reducer: int, after: int, limit: int) -> list[tuple[Any, ...]]:
        rows = sorted(item for item in self.shuffle.get(job_id, {}).items() if item[0][:2] == (phase, reducer))
        return [(key[2], *row) for key, row in rows if key[2] > after][:limit]

    def shuffle_take(self, job_id: str, limit: int) -> list[tuple[Any, ...]]:
        return [(*key, row[3]) for key, row in islice(self.shuffle.get(job_id, {}).items(), limit)]

    def shuffle_after(self, job_id: str, phase: int, limit: int) -> list[tuple[Any, ...]]:
        rows = self.shuffle.get(job_id, {}).items()
        return [(*key, row[3]) for key, row in rows if key[0] > phase][:limit]

    def shuffle_delete(self, job_id: str, phase: int, reducer: int, seq: int) -> None:
        del self.shuffle[job_id][phase, reducer, seq]

    # results

    def output_insert(self, job_id: str, seq: int, *values: Any) -> None:
        self.output_rows.setdefault(job_id, {})[seq] = values

    def outputs_page(self, job_id: str, after: int, limit: int) -> list[tuple[Any, ...]]:
        rows = self.output_rows.get(job_id, {}).items()
        return list(islice(((seq, *row) for seq, row in rows if seq > after), limit))

    def output_take(self, job_id: str, limit: int) -> list[tuple[Any, ...]]:
        return [(seq,) for seq in islice(self.output_rows.get(job_id, {}), limit)]

    def output_delete(self, job_id: str, seq: int) -> None:
        del self.output_rows[job_id][seq]

    def error_insert(self, job_id: str, seq: int, record: bytes) -> None:
        self.error_rows.setdefault(job_id, {})[seq] = record

    def errors_page(self, job_id: str, after: int, limit: int) -> list[tuple[Any, ...]]:
        rows = self.error_rows.get(job_id, {}).items()
        return list(islice(((seq, row) for seq, row in rows if seq > after), limit))

    def error_take(self, job_id: str, limit: int) -> list[tuple[Any, ...]]:
        return [(seq,) for seq in islice(self.error_rows.get(job_id, {}), limit)]

    def error_delete(self, job_id: str, seq: int) -> None:
        del self.error_rows[job_id][seq]

    # usage

    def usage_add(self, owner: str, day: int, *spent: int) -> None:
        before = self.usage.get((owner, day), [0] * len(spent))
        self.usage[owner, day] = [min(a + b, 1 << 62) for a, b in zip(before, spent, strict=True)]

    def usage_of(self, owner: str, first: int, last: int) -> list[tuple[Any, ...]]:
        return [
            (day, *spent) for (one, day), spent in sorted(self.usage.items()) if one == owner and first <= day <= last
        ]

    def usage_forget(self, owner: str) -> None:
        self.usage = {key: value for key, value in self.usage.items() if key[0] != owner}

    def usage_prune(self, before: int) -> None:
        self.usage = {key: value for key, value in self.usage.items() if key[1] >= before}

    # agents

    def agent_get(self, node_id: str) -> list[tuple[Any, ...]]:
        return [self.agents[node_id]] if node_id in self.agents else []

    def agent_save(self, node_id: str, epoch: str, until_ms: int) -> None:
        self.agents[node_id] = epoch, until_ms

    def agents_alive(self, now_ms: int) -> list[tuple[Any, ...]]:
        return [(node_id,) for node_id, (_, until_ms) in sorted(self.agents.items()) if until_ms >= now_ms]

    def agents_all(self) -> list[tuple[Any, ...]]:
        return [(node_id, *row) for node_id, row in sorted(self.agents.items())]


def _astuple(job: JobRow) -> tuple[Any, ...]:
    return tuple(getattr(job, name) for name in JobRow.__slots__)
