"""The engines themselves: batches, failed commits, closing, and SQL files that name the same statements."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from manta.catalog.open import open_catalog
from manta.catalog.ops import Op, Script
from manta.catalog.postgres.engine import Connection, PostgresEngine, _transaction, check_durable
from manta.catalog.sqlite.engine import SqliteEngine
from manta.catalog.statements import load, migrations
from manta.core.clock import SystemClock
from manta.core.errors import Conflict, InvalidArgument, MantaError, ServiceUnavailable
from manta.core.limits import ORPHAN_GRACE_S
from tests.support.catalog import StandingClock, opened
from tests.support.jobs import stored
from tests.support.postgres import Server
from tests.support.rows import add, names

ONLY_POSTGRES = {"put_new_object"}


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[SqliteEngine]:
    engine = SqliteEngine(tmp_path / "catalog.db", 0)
    yield engine
    await engine.close()


async def hold(engine: SqliteEngine, release: threading.Event) -> "asyncio.Task[None]":
    """Keep the writer inside one operation, so that what follows waits and becomes one batch."""
    entered = asyncio.Event()
    loop = asyncio.get_running_loop()

    def operation(_: apsw.Cursor) -> None:
        loop.call_soon_threadsafe(entered.set)
        release.wait()

    holding = asyncio.create_task(engine.write(operation))
    await entered.wait()
    return holding


async def test_an_operation_that_fails_undoes_itself_alone(engine: SqliteEngine) -> None:
    def fail(cursor: apsw.Cursor) -> None:
        add("half")(cursor)
        raise InvalidArgument("no")

    release = threading.Event()
    holding = await hold(engine, release)
    batch = [asyncio.create_task(engine.write(one)) for one in (add("a"), fail, add("a"), add("b"))]
    await asyncio.sleep(0)
    release.set()
    done = await asyncio.gather(holding, *batch, return_exceptions=True)
    assert done[1] == "a"
    assert isinstance(done[2], InvalidArgument)
    assert isinstance(done[3], MantaError)
    assert done[4] == "b"
    assert names(engine) == ["a", "b"]


@pytest.mark.invariant("D5")
async def test_nothing_of_a_batch_is_acknowledged_when_its_commit_fails(engine: SqliteEngine) -> None:
    """D5 for the catalog: after a failed sync no write is acknowledged until a restart; reads go on."""
    await engine.write(add("before"))

    def fail() -> bool:
        raise apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)

    engine._writer.set_commit_hook(fail)
    release = threading.Event()
    holding = await hold(engine, release)
    batch = [asyncio.create_task(engine.write(add(name))) for name in ("a", "b")]
    await asyncio.sleep(0)
    release.set()
    done = await asyncio.gather(holding, *batch, return_exceptions=True)
    assert all(isinstance(one, ServiceUnavailable) for one in done)
    engine._writer.set_commit_hook(None)
    with pytest.raises(ServiceUnavailable):
        await engine.write(add("later"))
    assert names(engine) == ["before"]


async def test_a_commit_that_is_refused_fails_its_batch_and_no_other(engine: SqliteEngine) -> None:
    engine._writer.set_commit_hook(lambda: True)
    with pytest.raises(MantaError):
        await engine.write(add("a"))
    engine._writer.set_commit_hook(None)
    assert await engine.write(add("b")) == "b"
    assert names(engine) == ["b"]


async def test_closing_commits_what_was_given_and_takes_no_more(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path / "catalog.db", 0)
    given = [asyncio.create_task(engine.write(add(str(number)))) for number in range(20)]
    await asyncio.sleep(0)
    await engine.close()
    assert await asyncio.gather(*given) == [str(number) for number in range(20)]
    with pytest.raises(ServiceUnavailable):
        await engine.write(add("late"))
    await engine.close()


async def test_a_caller_that_gave_up_disturbs_nobody(engine: SqliteEngine) -> None:
    release = threading.Event()
    holding = await hold(engine, release)
    given_up, patient = asyncio.create_task(engine.write(add("a"))), asyncio.create_task(engine.write(add("b")))
    await asyncio.sleep(0)
    given_up.cancel()
    release.set()
    await holding
    assert await patient == "b"
    assert names(engine) == ["a", "b"]


async def test_the_file_is_its_owners_alone(engine: SqliteEngine) -> None:
    assert engine.path.stat().st_mode & 0o777 == 0o600


def test_both_engines_name_the_same_statements_and_migrations() -> None:
    sqlite, postgres = (set(load(f"manta.catalog.{engine}")) for engine in ("sqlite", "postgres"))
    assert postgres - sqlite == ONLY_POSTGRES
    assert sqlite <= postgres
    numbered = [
        [(one.number, one.name) for one in migrations(f"manta.catalog.{engine}")] for engine in ("sqlite", "postgres")
    ]
    assert numbered[0] == numbered[1]
    assert [number for number, _ in numbered[0]] == list(range(1, len(numbered[0]) + 1))


async def test_gateways_that_start_together_make_the_schema_once(postgres_url: str) -> None:
    catalogs = await asyncio.gather(*(open_catalog(postgres_url, StandingClock()) for _ in range(4)))
    await catalogs[0].create_bucket("books", "alice", 1)
    assert (await catalogs[3].get_bucket("books")).name == "books"
    for catalog in catalogs:
        await catalog.close()


@pytest.mark.parametrize("url", ["mysql://x", "sqlite:", "nothing"])
async def test_an_unknown_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgument, match="memory:"):
        await open_catalog(url, StandingClock())


async def test_a_database_that_does_not_answer_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServiceUnavailable, match="PostgreSQL"):
        async with opened(f"postgresql:///x?host={tmp_path}&user=manta", StandingClock()):
            pass


@pytest.mark.invariant("D1", "D2")
async def test_d2_a_commit_waits_for_the_disk_whatever_the_operator_set(postgres_server: Server) -> None:
    url = postgres_server.new_schema()
    postgres_server.execute("CREATE ROLE hasty SUPERUSER LOGIN")
    postgres_server.execute("ALTER ROLE hasty SET synchronous_commit = off")
    engine = await PostgresEngine.open(url.replace("user=manta", "user=hasty"), 0)
    try:
        async with engine._pool.acquire() as connection:
            assert await connection.fetchval("SHOW synchronous_commit") == "on"
            await connection.execute("SET synchronous_commit = off")
            with pytest.raises(InvalidArgument, match="synchronous_commit"):
                await check_durable(connection)
    finally:
        await engine.close()


async def test_a_caller_that_gives_up_at_any_moment_leaves_no_transaction_open(postgres_url: str) -> None:
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(str(context["message"])))
    engine = await PostgresEngine.open(postgres_url, 0)

    def script() -> Script[int]:
        return len((yield Op("list_nodes")))

    try:
        for steps in range(40):
            given_up = asyncio.create_task(engine.change(script))
            for _ in range(steps // 2):
                await asyncio.sleep(0)
            given_up.cancel()
            await asyncio.gather(given_up, return_exceptions=True)
            assert await engine.change(script) == 0
    finally:
        await engine.close()
    assert complaints == []


class _HeldCommit:
    """A connection whose server has not begun to commit when it is told to stop."""

    def __init__(self, connection: Connection, asked: asyncio.Event) -> None:
        self._connection = connection
        self._asked = asked

    async def execute(self, statement: str) -> str:
        if statement == "COMMIT":
            asyncio.get_running_loop().call_soon(self._asked.set)
            statement = "SELECT pg_sleep(60)"
        return str(await self._connection.execute(statement))


async def test_a_caller_that_gives_up_before_the_server_commits_leaves_no_transaction_open(postgres_url: str) -> None:
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(str(context["message"])))
    engine, asked = await PostgresEngine.open(postgres_url, 0), asyncio.Event()

    def script() -> Script[None]:
        yield from ()

    try:
        given_up = asyncio.create_task(engine._retrying(lambda c: _transaction(_HeldCommit(c, asked), script())))
        await asked.wait()
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        assert given_up.cancelled()
        await engine.change(script)
    finally:
        await engine.close()
    assert complaints == []


class _WrongClock(SystemClock):
    """A gateway's wall clock that is off by a day."""

    def __init__(self, off_s: float) -> None:
        self._off_s = off_s

    def wall_s(self) -> float:
        return super().wall_s() + self._off_s


@pytest.mark.parametrize("off_s", [-86_400.0, 86_400.0])
async def test_the_age_of_a_blob_is_judged_by_the_servers_clock(postgres_url: str, off_s: float) -> None:
    catalog = await open_catalog(postgres_url, _WrongClock(off_s), server_time=True)
    try:
        now_ms = int(SystemClock().wall_s() * 1000)
        await catalog.create_bucket("books", "alice", now_ms)
        await catalog.put_object("books", stored(now_ms, "young"))
        with pytest.raises(Conflict):
            await catalog.put_object("books", stored(now_ms - int(0.6 * ORPHAN_GRACE_S * 1000), "old"))
    finally:
        await catalog.close()
