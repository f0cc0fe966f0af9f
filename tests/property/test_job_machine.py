"""Jobs under any interleaving of leases, reports, losses, cancels and duplicates: J1, J2, J3 and the books' balance."""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from jobs.model.resources import Needs
from jobs.model.states import TaskState
from jobs.model.wire import AttemptRef, TaskResult, Usage
from manta.catalog.job_records import Choice
from manta.catalog.memory import MemoryCatalog
from manta.catalog.task_records import TaskRow
from manta.core.errors import MantaError
from manta.core.limits import HOLDER_WAIT_S, LEASE_S
from manta.core.names import job_bucket, new_id
from tests.support.catalog import StandingClock
from tests.support.jobs import MAP, REDUCE, expire, failure, new_job, output, ref, stored, success

NODES = ("n1", "n2", "n3")
PLANS = (
    [MAP],
    [MAP, REDUCE],
    [MAP, MAP, {**REDUCE, "count": 3}],
    [{**REDUCE, "count": 2}],
    [{**MAP, "retries": 1}, REDUCE, MAP],
    [{**MAP, "batch": 2}],
    [{**MAP, "batch": 3, "retries": 1}, {**MAP, "batch": 2}, REDUCE],
)
INPUTS = (
    "s3://books/",
    "s3://books/a*",
    "s3://books/a1",
    "s3://books/none",
    "s3://nobucket/x",
    "nonsense",
    "s3://books/empty",
)
T = TypeVar("T")


def now(work: Coroutine[Any, Any, T]) -> T:
    """The memory catalog never really waits."""
    try:
        work.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    raise AssertionError("the memory catalog waited")


class JobMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = StandingClock()
        self.catalog = MemoryCatalog(self.clock)
        self.jobs = self.catalog.jobs
        self.born_ms: dict[AttemptRef, int] = {}
        """Of the blobs that a batch may write beside its slot."""
        self.created: list[str] = []
        self.deleted: set[str] = set()
        self.held: dict[AttemptRef, tuple[str, TaskRow]] = {}
        self.reported: list[tuple[str, Any]] = []
        self.accepted: dict[tuple[str, int], int] = {}
        """(job, task) → attempt whose success was taken."""
        self.epochs = dict.fromkeys(NODES, 0)
        now(self.catalog.create_bucket("books", "alice", self.clock.now_ms()))
        for number, nodes in enumerate((("n1", "n2"), ("n2", "n3"), ("n1",), ("n3", "n1"))):
            now(self.catalog.put_object("books", stored(self.clock.now_ms(), f"a{number}", nodes)))
        now(self.catalog.put_object("books", stored(self.clock.now_ms(), "empty", size=0)))
        for node in NODES:
            self.renew(node)

    # --- what clients do

    @rule(
        plan=st.sampled_from(PLANS),
        inputs=st.lists(st.sampled_from(INPUTS), max_size=4),
        errors=st.sampled_from([None, 2]),
    )
    def create(self, plan: list[dict[str, Any]], inputs: list[str], errors: int | None) -> None:
        if len(self.created) < 4:
            more = {} if errors is None else {"max_errors": errors}
            self.created.append(now(self.jobs.create_job(new_job(self.clock.now_ms(), plan, inputs, **more))).job_id)

    @rule(pick=st.integers(0, 9), end=st.booleans())
    def add(self, pick: int, end: bool) -> None:
        if self.created:
            try:
                now(self.jobs.add_inputs(self.created[pick % len(self.created)], [], end=end))
            except MantaError as error:
                assert error.code in ("JobClosed", "NoSuchJob")  # noqa: PT017

    @rule(pick=st.integers(0, 9))
    def cancel(self, pick: int) -> None:
        self._on_job(pick, self.jobs.cancel_job, "cancelled")

    @rule(pick=st.integers(0, 9))
    def retry(self, pick: int) -> None:
        try:
            self._on_job(pick, self.jobs.retry_job)
        except MantaError as error:
            assert error.code == "JobNotRetried"  # noqa: PT017

    @rule(pick=st.integers(0, 9))
    def delete(self, pick: int) -> None:
        self._on_job(pick, self.jobs.delete_job)
        if self.created:
            self.deleted.add(self.created[pick % len(self.created)])

    def _on_job(self, pick: int, call: Any, *args: Any) -> None:
        if self.created:
            job_id = self.created[pick % len(self.created)]
            if job_id not in self.deleted:
                now(call(job_id, *args))

    # --- what nodes and sweeps do

    @rule(pick=st.integers(0, 9))
    def tend(self, pick: int) -> None:
        if self.created:
            now(self.jobs.tend(self.created[pick % len(self.created)]))

    @rule(node=st.sampled_from(NODES))
    def renew(self, node: str) -> None:
        until_ms = self.clock.now_ms() + int(LEASE_S * 1000)
        now(self.jobs.renew(node, f"e{self.epochs[node]}", until_ms))

    @rule(node=st.sampled_from(NODES))
    def restart(self, node: str) -> None:
        self.epochs[node] += 1
        self.renew(node)

    @rule(node=st.sampled_from(NODES), lanes=st.integers(1, 5), small=st.booleans(), full=st.booleans())
    def lease(self, node: str, lanes: int, *, small: bool = False, full: bool = False) -> None:
        """A small node leaves whatever another may run; for a full one that is kept."""
        slots = [new_id(self.clock.now_ms()) for _ in range(lanes)]

        def choose(_: Needs, hosts: Sequence[str], _is_idle: bool) -> Choice:
            left = Choice.LATER if full else Choice.ELSEWHERE
            return left if small and set(hosts) != {node} else Choice.HERE

        for grant in now(self.jobs.lease(node, f"e{self.epochs[node]}", slots, choose=choose)):
            task = grant.task
            assert not small or task.nodes == [node]
            assert task.blob_id is None or node in task.nodes, "a map task runs where its input lies (J5)"
            assert ref(task) not in self.held, "an attempt is given once"
            self.held[ref(task)] = node, task
            timeout_s = grant.plan.phases[task.phase].task_timeout_s
            self.born_ms[ref(task)] = self.clock.now_ms() + int(timeout_s * 1000)

    @rule(pick=st.integers(0, 99), node=st.sampled_from(NODES))
    def lease_second(self, pick: int, node: str) -> None:
        """A straggler's second attempt; whether it is slow is not the store's to know."""
        if self.held:
            straggler = sorted(self.held, key=str)[pick % len(self.held)]
            slot = new_id(self.clock.now_ms())
            grant = now(self.jobs.lease_second(node, f"e{self.epochs[node]}", straggler, slot))
            if grant is not None:
                assert node != self.held[straggler][0]
                assert grant.task.blob_id is None or node in grant.task.nodes
                assert ref(grant.task) not in self.held, "an attempt is given once"
                self.held[ref(grant.task)] = node, grant.task

    @rule(
        picks=st.lists(
            st.tuples(st.integers(0, 99), st.sampled_from("ssssfr"), st.integers(0, 2)), min_size=1, max_size=4
        )
    )
    def report(self, picks: list[tuple[int, str, int]]) -> None:
        by_node: dict[str, list[Any]] = {}
        for pick, kind, outputs in picks:
            if self.held:
                attempt = sorted(self.held, key=str)[pick % len(self.held)]
                node, task = self.held.pop(attempt)
                by_node.setdefault(node, []).append(self._result(attempt, task, node, kind, outputs))
        for node, results in by_node.items():
            self._send(node, results)

    def _result(self, attempt: AttemptRef, task: TaskRow, node: str, kind: str, outputs: int) -> Any:
        if task.members is not None and outputs:
            return self._batch_result(attempt, task, node, kind)
        if kind != "s":
            return failure(attempt, retryable=kind == "r")
        made = [output(task.slot, (node, "n3" if node != "n3" else "n1"), reducer=None if outputs else 7)]
        return success(attempt, made + [output(None, (), size=0)] * (outputs - 1))

    def _batch_result(self, attempt: AttemptRef, task: TaskRow, node: str, kind: str) -> Any:
        """The first input ends as `kind` says, the others well."""
        members = []
        for place, one in enumerate(task.inputs):
            own = AttemptRef(attempt.job_id, one.task_id, attempt.attempt)
            slot = task.slot if place == 0 else new_id(self.born_ms[attempt])
            made = [output(slot, (node, "n3" if node != "n3" else "n1"))]
            members.append(success(own, made) if place or kind == "s" else failure(own, retryable=kind == "r"))
        return TaskResult(attempt, Usage(1, 2, 0.5), members=tuple(members))

    @rule(pick=st.integers(0, 99))
    def report_again(self, pick: int) -> None:
        """A node repeats a report whose answer it never saw."""
        if self.reported:
            node, result = self.reported[pick % len(self.reported)]
            self._send(node, [result])

    def _send(self, node: str, results: list[Any]) -> None:
        stale = set(now(self.jobs.report(node, results)).stale)
        for result in results:
            self.reported.append((node, result))
            name = (result.attempt.job_id, result.attempt.task_id, result.attempt.attempt)
            for one in result.members or (result,):
                if one.failure is None and name not in stale:
                    before = self.accepted.setdefault((name[0], one.attempt.task_id), name[2])
                    assert before == name[2], "two attempts of one task were committed (J1)"

    @rule(pick=st.integers(0, 99), delivered=st.booleans())
    def lose(self, pick: int, delivered: bool) -> None:
        if self.held:
            attempt = sorted(self.held, key=str)[pick % len(self.held)]
            now(self.jobs.release(self.held[attempt][0], [attempt], delivered=delivered))

    @rule(seconds=st.sampled_from([1.0, LEASE_S + 1, HOLDER_WAIT_S + 1]), heard=st.sets(st.sampled_from(NODES)))
    def expire(self, seconds: float, heard: set[str]) -> None:
        self.clock.advance(seconds)
        now(expire(self.jobs, heard, {node: seconds for node in NODES if node not in heard}))

    # --- what always holds

    @invariant()
    def counts_are_those_of_the_rows(self) -> None:
        tables = self.jobs.tables
        for job_id, job in tables.jobs.items():
            rows: Counter[tuple[int, int]] = Counter()
            running = 0
            for row in tables.task_rows.get(job_id, {}).values():
                rows[row.phase, row.state] += row.weight
                running += row.state == TaskState.RUNNING
            if job.retry or (job.doomed and job.ended_ms is not None):
                continue  # a retry empties the counts at once, the rows follow in pages
            for phase in tables.phases(job_id):
                number, _, reducers, waiting, *counts, _complete, opened, _dealt = phase
                found = [rows[number, state] for state in TaskState if state is not TaskState.WAITING]
                unopened_cancelled = counts[-1] - found[-1]
                assert counts[:-1] == found[:-1]
                assert unopened_cancelled in (0, reducers)
                assert waiting in (0, reducers)
                assert not (opened and waiting)
            assert job.running == running

    @invariant()
    def two_attempts_are_of_running_tasks_one_of_them_at_least(self) -> None:
        tables = self.jobs.tables
        for job_id, rows in tables.elder_rows.items():
            for task_id, elder in rows.items():
                task = tables.task_rows[job_id][task_id]
                assert task.state == TaskState.RUNNING
                assert elder[1] < task.attempt
                assert elder[2] or task.node_id
                assert elder[2] != task.node_id
        for tasks in tables.task_rows.values():
            for task in tasks.values():
                if task.state == TaskState.RUNNING and not task.node_id:
                    assert tables.elder_rows[task.job_id][task.task_id][2], "nobody runs it"

    @invariant()
    def queues_hold_exactly_what_is_ready(self) -> None:
        tables = self.jobs.tables
        queued = {key for queue in tables.ready.values() for key in queue}
        rows = {
            (row.job_id, row.task_id)
            for rows in tables.task_rows.values()
            for row in rows.values()
            if row.state == TaskState.READY
        }
        assert queued == rows

    @invariant()
    def every_blob_has_as_many_references_as_holders(self) -> None:
        state, tables = self.catalog.state, self.jobs.tables
        refs: Counter[str] = Counter()
        for objects in state.objects.values():
            refs.update(version.blob.blob_id for version in objects.values() if version.blob is not None)
        for rows in tables.task_rows.values():
            for one in (one for row in rows.values() for one in row.inputs):
                if one.blob_id and (one.state <= TaskState.RUNNING or one.state == TaskState.FAILED):
                    refs[one.blob_id] += 1
        for shuffled in tables.shuffle.values():
            refs.update(row[3] for row in shuffled.values() if row[3])
        assert refs == Counter({blob_id: row.refs for blob_id, row in state.blobs.items()})

    @invariant()
    def outputs_are_those_of_committed_attempts(self) -> None:
        tables = self.jobs.tables
        for job_id, outputs in tables.output_rows.items():
            if not outputs or tables.jobs[job_id].doomed:
                continue
            keys = {(row[0], row[1]) for row in outputs.values()}
            assert len(keys) == len(outputs), "an output was committed twice (J1)"
            assert all((job_id, row[4]) in self.accepted for row in outputs.values()), "an output without a commit (J2)"
            bucket = self.catalog.state.buckets.get(job_bucket(job_id))
            found = set() if bucket is None else {key.decode() for key in self.catalog.state.objects[bucket.id]}
            assert found == {key for _, key in keys}

    # --- how it ends

    def teardown(self) -> None:
        for job_id in self.created:
            if job_id not in self.deleted:
                now(self.jobs.add_inputs(job_id, [], end=True)) if self._open(job_id) else None
        self._run_to_the_end()
        for job_id, job in list(self.jobs.tables.jobs.items()):
            if job.state == "done":
                now(self.jobs.retry_job(job_id))
        self._run_to_the_end()
        for job_id in list(self.jobs.tables.jobs):
            now(self.jobs.delete_job(job_id))
            self.deleted.add(job_id)
        self._run_to_the_end()
        assert not self.jobs.tables.jobs

    def _run_to_the_end(self) -> None:
        for _ in range(400):
            for job_id in now(self.jobs.jobs_to_tend(100)):
                now(self.jobs.tend(job_id))
            self.queues_hold_exactly_what_is_ready()
            for node in NODES:
                self.renew(node)
                self.lease(node, 5)
            if self.held:
                self.report([(0, "s", 1)] * len(self.held))
            else:
                self.clock.advance(LEASE_S / 3)
                now(expire(self.jobs, NODES, {}))
            if all(job.ended_ms is not None and not job.tend for job in self.jobs.tables.jobs.values()):
                break
        else:
            raise AssertionError("a job did not end (J4)")
        self.counts_are_those_of_the_rows()
        self.every_blob_has_as_many_references_as_holders()
        self.outputs_are_those_of_committed_attempts()
        self._every_input_ended_once()

    def _open(self, job_id: str) -> bool:
        job = self.jobs.tables.jobs[job_id]
        return not job.input_ended and job.cancel_reason is None and job.ended_ms is None

    def _every_input_ended_once(self) -> None:
        tables = self.jobs.tables
        assert self.deleted.isdisjoint(tables.jobs)
        for job_id in tables.jobs:
            view = now(self.jobs.get_job(job_id))
            states = Counter(line.fields["state"] for line in now(self.jobs.inputs(job_id, 0, 10_000)))
            assert set(states) <= {"committed", "failed", "cancelled"}
            assert view.inputs == sum(states.values()), "inputs = committed + failed + cancelled (J3)"
            errors = now(self.jobs.errors(job_id, 0, 10_000))
            assert view.errors == len(errors)
            assert view.state == "cancelled" or view.cancel_reason is None
        retried = {job.job_id for job in tables.jobs.values() if job.errors and job.state == "done"}
        assert not any(rows for job_id, rows in tables.shuffle.items() if job_id not in retried)


@pytest.mark.invariant("J1", "J2", "J3")
def test_every_input_ends_once_whatever_happens_in_whatever_order() -> None:
    """Proves J1, J2 and J3."""
    checked = settings(max_examples=150, stateful_step_count=40, deadline=None)
    run_state_machine_as_test(JobMachine, settings=checked)


def test_the_machine_is_run_by_the_memory_catalog_alone() -> None:
    with pytest.raises(AssertionError, match="waited"):
        now(asyncio.sleep(0, None))
