"""The WebSocket of login sessions: another's client, what is refused before it, and ends from the store's side."""

import asyncio
import hashlib
import os
import secrets
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import aiohttp
import msgspec
import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from manta.core.errors import MantaError
from manta.sdk import Store, connect
from tests.support.certificates import self_signed
from tests.support.resident import resident_bytes
from tests.support.shared_store import shared_store
from tests.support.sleepers import in_foreground, sleepers
from tests.support.store import RunningStore, running_store
from tests.support.terminal import UserTerminal, at_prompt
from tests.support.traces import abandoned, marked
from tests.support.waiting import await_condition

OBJECT = "s3://books/moby.txt"


running = shared_store()


@pytest.fixture(scope="module")
def store(running: RunningStore) -> Iterator[Store]:
    with running.client() as client:
        client.make_bucket("books")
        client.write(OBJECT, b"call me ishmael\n")
        yield client


def presigned(running: RunningStore, **query: str) -> str:
    request = AWSRequest("GET", f"{running.url}/_manta/v1/login?{urlencode(query)}")
    keys = Credentials(running.access_key, running.secret_key)
    S3SigV4QueryAuth(keys, "s3", "us-east-1", expires=60).add_auth(request)
    return str(request.url)


async def refusal(url: str, headers: dict[str, str] | None = None) -> tuple[int, dict[str, Any], str]:
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        content = msgspec.json.decode(await answer.read())["error"]
        return answer.status, content, answer.headers.get("Upgrade", "")


UPGRADE = {
    "Connection": "keep-alive, Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


async def test_without_an_upgrade_the_call_says_what_it_is(running: RunningStore, store: Store) -> None:
    url = presigned(running, object=OBJECT)
    status, error, offered = await refusal(url)
    assert (status, error["code"], offered) == (426, "UpgradeRequired", "websocket")
    assert "WebSocket" in error["message"]
    assert error["request_id"]
    status, error, _ = await refusal(url, UPGRADE | {"Sec-WebSocket-Version": "8"})
    assert (status, error["code"]) == (426, "UpgradeRequired")
    for bad in ({"Sec-WebSocket-Key": "short"}, {"Content-Length": "5"}):
        status, error, _ = await refusal(url, UPGRADE | bad)
        assert (status, error["code"]) == (400, "InvalidRequest")


@pytest.mark.invariant("S1")
async def test_s1_no_session_without_a_good_signature(running: RunningStore, store: Store) -> None:
    url = presigned(running, object=OBJECT)
    for bad in (url.partition("&X-Amz-Signature")[0], url.replace("moby", "mobx"), url + "0"):
        status, _, _ = await refusal(bad, UPGRADE)
        assert status in (400, 403)
    status, error, _ = await refusal(f"{running.url}/_manta/v1/login?object={OBJECT}", UPGRADE)
    assert (status, error["code"]) == (403, "AccessDenied")


async def test_what_cannot_be_is_said_before_the_upgrade(running: RunningStore, store: Store) -> None:
    for query, expected in (
        ({"object": "s3://books/none"}, (404, "NoSuchKey")),
        ({"object": "s3://nobucket/none"}, (404, "NoSuchBucket")),
        ({"object": "s3://books/"}, (400, "InvalidRequest")),
        ({"object": OBJECT, "memory": "60G"}, (503, "SlowDown")),
        ({}, (400, "InvalidArgument")),
    ):
        status, error, _ = await refusal(presigned(running, **query), UPGRADE)
        assert (status, error["code"]) == expected, error


async def test_another_client_speaks_with_it(running: RunningStore, store: Store) -> None:
    """aiohttp's, by a presigned URL, as a page in a browser would."""
    url = presigned(running, object=OBJECT, rows="5", columns="40")
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as spoken:
        await spoken.send_bytes(b'cat "$MANTA_INPUT_FILE"; exit 6\r')
        said = b""
        async for message in spoken:
            if message.type is aiohttp.WSMsgType.TEXT:
                assert msgspec.json.decode(message.data)["end"]["exit_status"] == 6
                break
            said += message.data
        assert b"call me ishmael\r\n" in said
        assert (await spoken.receive()).type is aiohttp.WSMsgType.CLOSE


@pytest.mark.invariant("J7")
async def test_j7_a_session_that_prints_endlessly_takes_no_memory(running: RunningStore, store: Store) -> None:
    """Its client takes nothing; gateway and node answer meanwhile."""
    processes = running.children()
    before = {name: resident_bytes(pid) for name, pid in processes.items()}
    async with aiohttp.ClientSession() as session:
        silent = await session.ws_connect(presigned(running, object=OBJECT, command="yes " + "x" * 1000))
        await silent.receive()
        written = -1
        while (now := _written_by(b"yes")) != written:
            written = now
            await asyncio.sleep(0.3)
        assert 0 < now < 32 << 20  # the kernel's own buffers of three sockets
        assert await asyncio.to_thread(store.read, OBJECT) == b"call me ishmael\n"
    for name, pid in processes.items():
        assert resident_bytes(pid) - before[name] < 16 << 20


def _written_by(name: bytes) -> int:
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if entry.read_bytes().startswith(name + b"\0"):
                return int(entry.with_name("io").read_text().partition("wchar: ")[2].split()[0])
        except OSError:
            continue
    return 0


def _busy(running: RunningStore, user: UserTerminal, seconds: int) -> None:
    user.run(f"nohup setsid sleep {seconds} >/dev/null 2>&1 &")
    user.type(f"sleep {seconds}\r")
    await_condition(lambda: in_foreground(running, seconds), "the program runs")


@pytest.mark.invariant("S4")
@pytest.mark.parametrize("name", ["gateway", "node-1"])
def test_s4_a_killed_server_takes_its_sessions_along(running: RunningStore, store: Store, name: str) -> None:
    mark = secrets.token_hex(8)
    with at_prompt(running, OBJECT) as user:
        before = user.modes()
        user.run(f"export MARK={mark}; bash")  # one that has it in its environment from the start
        _busy(running, user, 7010)
        await_condition(lambda: len(marked(mark)) > 2, "what runs in the background has begun")
        os.kill(running.children()[name], signal.SIGKILL)
        assert user.status() == 1
        assert b"connection to the store was lost" in user.shown
        assert user.modes() != before
        await_condition(lambda: not marked(mark), "every process is dead, those that init took over too")
    await_condition(lambda: _works(store), "the store is back")
    await_condition(lambda: not abandoned(running.data), "what a killed node leaves is gone")


def _works(store: Store) -> bool:
    try:
        return store.objects(OBJECT).sh("wc -l", reduce="cat").text() == "1\n"
    except MantaError:
        return False


@pytest.mark.slow
def test_a_planned_restart_of_the_gateway_does_not_wait_for_sessions(running: RunningStore, store: Store) -> None:
    with at_prompt(running, OBJECT) as user:
        _busy(running, user, 7011)
        gateway = running.children()["gateway"]
        running.process.send_signal(signal.SIGHUP)
        user.until("manta: The gateway is being replaced, or stopped: run `manta login` again.")
        assert user.status() == 1
        await_condition(lambda: not sleepers(running, 7011), "every process is dead")
        await_condition(lambda: not Path(f"/proc/{gateway}").exists(), "the old gateway has ended")
    assert _works(store)


@pytest.mark.slow
def test_a_session_that_prints_endlessly_is_told_of_a_planned_restart_too(running: RunningStore, store: Store) -> None:
    """Its goodbye comes between two frames of the node's, not in the middle of one."""
    with at_prompt(running, OBJECT) as user:
        user.type("yes\r")
        user.until("y\r\ny\r\ny\r\n")
        running.process.send_signal(signal.SIGHUP)
        user.until("manta: The gateway is being replaced, or stopped: run `manta login` again.")
        assert user.status() == 1
    assert _works(store)


def test_a_session_costs_its_account_what_it_held_for_as_long(running: RunningStore, store: Store) -> None:
    running.manta("account", "create", "guest", "--access-key", "GUESTKEY", "--secret-key", "g" * 40)
    with connect(running.url, "GUESTKEY", "g" * 40) as guest:
        guest.make_bucket("guests")
        guest.write("s3://guests/in", b"x")

        def used() -> dict[str, float]:
            return dict(guest.api("GET", "/usage")["total"])

        as_guest = {"AWS_ACCESS_KEY_ID": "GUESTKEY", "AWS_SECRET_ACCESS_KEY": "g" * 40}
        ended = running.manta("login", "--memory", "64M", "-c", "sleep 1.5", "s3://guests/in", environment=as_guest)
        assert ended.returncode == 0, ended.stderr
        await_condition(lambda: used()["task_seconds"] > 0, "the session to be charged")
        told = used()
    assert told["task_seconds"] >= 1.5
    assert told["byte_seconds"] == pytest.approx(told["task_seconds"] * (64 << 20), rel=0.01)
    assert told["attempts"] == 0, "a session is no attempt of a task"


@pytest.mark.slow
def test_the_gateway_counts_its_sessions(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with running_store(tmp_path / "other", "--admin-port", str(port)) as other, other.client() as client:
        client.make_bucket("books")
        client.write(OBJECT, b"x")
        with at_prompt(other, OBJECT):
            assert _sessions(port) == 1
        await_condition(lambda: _sessions(port) == 0, "the session has ended")


def _sessions(port: int) -> float:
    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        (line,) = [line for line in answer.read().decode().splitlines() if line.startswith("manta_login_sessions ")]
    return float(line.split()[1])


@pytest.mark.slow
def test_the_store_stops_while_a_session_is_open(tmp_path: Path) -> None:
    with running_store(tmp_path / "other") as other, other.client() as client:
        client.make_bucket("books")
        client.write(OBJECT, b"x")
        with at_prompt(other, OBJECT) as user:
            _busy(other, user, 7012)
            pids = sleepers(other, 7012)
            assert other.stop() == 0
            assert user.status() == 1
            assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.slow
def test_over_tls(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    tls = ("--tls-cert", str(certificate.chain), "--tls-key", str(certificate.key))
    with running_store(tmp_path / "other", *tls) as other:
        other.environment["AWS_CA_BUNDLE"] = str(certificate.chain)
        assert other.manta("mb", "s3://books").returncode == 0
        assert other.manta("put", "-", OBJECT, stdin=b"call me ishmael\n").returncode == 0
        answer = other.manta("login", "-c", 'seq 50000; cat "$MANTA_INPUT_FILE"', OBJECT)
        assert answer.stdout == b"".join(b"%d\n" % number for number in range(1, 50001)) + b"call me ishmael\n", answer
        with at_prompt(other, OBJECT) as user:
            assert "42" in user.run("echo $((6 * 7))")
            user.type("exit 3\r")
            assert user.status() == 3


@pytest.mark.slow
def test_a_reducer_has_objects_of_several_nodes(tmp_path: Path) -> None:
    """One copy of each: whatever node takes the session, some come from others."""
    with running_store(tmp_path / "other", "--nodes", "3", "--copies", "1") as other, other.client() as client:
        client.make_bucket("books")
        names = [f"s3://books/{number}.txt" for number in range(12)]
        for number, name in enumerate(names):
            client.write(name, b"%d\n" % number * (1 + 50_000 * (number % 2)))
        answer = other.manta("login", "--reduce", "-c", "cat $(ls -v -d /input/*/*) | md5sum", *names)
        expected = b"".join(b"%d\n" % number * (1 + 50_000 * (number % 2)) for number in range(12))
        assert answer.stdout.split()[0].decode() == hashlib.md5(expected).hexdigest(), answer
