"""Login sessions as users have them: the real command at a real terminal, on a store of two nodes with two copies."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from manta.core.limits import LOGIN_ACCOUNT_SESSIONS_MAX
from manta.sdk import Store
from tests.support.shared_store import shared_store
from tests.support.sleepers import in_foreground, sleepers
from tests.support.store import RunningStore
from tests.support.terminal import UserTerminal, at_prompt
from tests.support.waiting import await_condition

MOBY = b"call me ishmael\nsome years ago\n"
CITIES = b"it was the best of times\n"


running = shared_store("--nodes", "2", "--copies", "2")


@pytest.fixture(scope="module")
def store(running: RunningStore) -> Iterator[Store]:
    with running.client() as client:
        client.make_bucket("books")
        client.write("s3://books/sea/moby dick.txt", MOBY)
        client.write("s3://books/cities.txt", CITIES)
        client.write("s3://books/empty", b"")
        yield client


@pytest.fixture
def user(running: RunningStore, store: Store) -> Iterator[UserTerminal]:
    """At the prompt of a session on an object."""
    with at_prompt(running, "s3://books/sea/moby dick.txt") as user:
        yield user


def test_a_shell_on_the_object(user: UserTerminal) -> None:
    assert "call me ishmael\r\nsome years ago\r\n" in user.run('cat "$MANTA_INPUT_FILE"')
    assert "\r\nbooks/sea/moby dick.txt /input/moby dick.txt vt100 /scratch\r\n" in user.run(
        'echo "$MANTA_INPUT_OBJECT" "$MANTA_INPUT_FILE" $TERM $PWD'
    )
    user.type("exit 7\r")
    assert user.status() == 7


def test_the_size_of_the_terminal_is_the_users_and_follows_it(running: RunningStore, store: Store) -> None:
    with at_prompt(running, "s3://books/cities.txt", rows=31, columns=97) as user:
        assert "\r\n31 97\r\n" in user.run("stty size")
        user.run("trap 'stty size' WINCH")
        user.resize(40, 132)
        user.until("40 132\r\n")


def test_ctrl_c_interrupts_a_program_and_not_the_session(running: RunningStore, user: UserTerminal) -> None:
    user.type("sleep 7001\r")
    await_condition(lambda: in_foreground(running, 7001), "the program runs")
    user.type("\x03")
    user.until("# ")
    assert "\r\nstatus 130\r\n" in user.run("echo status $?")
    assert not sleepers(running, 7001)


def test_job_control(running: RunningStore, user: UserTerminal) -> None:
    user.run("sleep 7002 &")
    assert re.search(r"\[1\]\+?  Running +sleep 7002", user.run("jobs"))
    user.type("fg\r")
    await_condition(lambda: in_foreground(running, 7002), "the job is in the foreground")
    user.type("\x1a")
    assert "Stopped" in user.until("manta:")
    user.until("# ")
    assert re.search(r"\[1\]\+  Stopped +sleep 7002", user.run("jobs"))
    user.run("kill -9 %1")
    await_condition(lambda: not sleepers(running, 7002), "the job is dead")


def test_programs_find_the_terminal(user: UserTerminal) -> None:
    assert "\r\nseen\r\n" in user.run("echo seen > /dev/tty")
    assert "\r\nagain\r\n" in user.run("echo again > /dev/stdout")
    assert "\r\n/dev/pts/0\r\n" in user.run("tty")
    assert "\r\n/dev/pts/1\r\n" in user.run("script -qc tty /dev/null")
    assert "\r\nmade\r\n" in user.run("script -qc true /dev/null && echo ma''de")
    user.type("read -s -p 'sec''ret: ' secret\r")  # so that the echo of the command is not taken for its prompt
    user.until("secret: ")
    user.type("hidden words\r")
    assert "hidden" not in user.until("# ")
    assert "got hidden words" in user.run("echo got $secret")


@pytest.mark.invariant("S4")
def test_the_object_cannot_be_changed(store: Store, user: UserTerminal) -> None:
    said = user.run(
        'cd /input; for i in *; do echo x > "$i"; rm -f "$i"; mv "$i" y; chmod 777 "$i"; truncate -s 0 "$i"; done'
    )
    assert said.count("Read-only file system") + said.count("Permission denied") == 5, said
    assert store.read("s3://books/sea/moby dick.txt") == MOBY


@pytest.mark.invariant("S4")
def test_no_keys_can_be_pushed_into_the_terminal(user: UserTerminal) -> None:
    """TIOCSTI and TIOCLINUX would let a program type for whoever has the terminal next."""
    for number in (0x5412, 0x541C):
        source = f"import fcntl; fcntl.ioctl(0, {number}, b'x')"
        assert "Operation not permitted" in user.run(f'python3 -c "{source}"')


@pytest.mark.invariant("S4")
def test_killing_the_client_ends_every_process_of_the_session(running: RunningStore, user: UserTerminal) -> None:
    user.run("sleep 7003 & nohup setsid sleep 7003 >/dev/null 2>&1 &")
    user.type("sleep 7003\r")
    await_condition(lambda: len(sleepers(running, 7003)) == 3, "all three run")
    os.kill(user.pid, signal.SIGKILL)
    await_condition(lambda: not sleepers(running, 7003), "every process is dead")
    assert running.manta("job", "run", "-m", "wc -l", "s3://books/cities.txt").stdout == b"1\n"


def test_the_users_terminal_is_given_back_as_it_was(running: RunningStore, store: Store) -> None:
    with UserTerminal(running, "login", "s3://books/cities.txt") as user:
        before = user.modes()
        user.until("manta:")
        assert user.modes() != before
        os.kill(user.pid, signal.SIGTERM)
        assert user.status() == 128 + signal.SIGTERM
        assert user.modes() == before


def test_closing_the_terminal_ends_the_session_in_order(running: RunningStore, store: Store, tmp_path: Path) -> None:
    served = SimpleNamespace(environment={**running.environment, "TMPDIR": str(tmp_path)})
    with at_prompt(served, "s3://books/cities.txt") as user:
        user.run("nohup setsid sleep 7006 >/dev/null 2>&1 &")
        user.type("sleep 7006\r")
        await_condition(lambda: len(sleepers(running, 7006)) == 2, "both run")
        assert user.hang_up() == 128 + signal.SIGHUP
    await_condition(lambda: not sleepers(running, 7006), "every process is dead")
    assert list(tmp_path.iterdir()) == [], "it is no defect, and leaves no trace"


def test_a_tilde_and_a_dot_leave(running: RunningStore, user: UserTerminal) -> None:
    user.type("sleep 7004\r")
    await_condition(lambda: in_foreground(running, 7004), "the program runs")
    user.type("~.")
    assert user.status() == 1
    await_condition(lambda: not sleepers(running, 7004), "every process is dead")


def test_a_reducer_sees_its_objects_as_files(running: RunningStore, store: Store) -> None:
    with at_prompt(
        running, "--reduce", "s3://books/sea/moby dick.txt", "s3://books/empty", "s3://books/cities.txt"
    ) as user:
        assert "\r\n/input/1/moby dick.txt\r\n/input/2/empty\r\n/input/3/cities.txt\r\n" in user.run(
            "printf '%s\\n' /input/*/*"
        )
        assert "call me ishmael\r\nsome years ago\r\nit was the best of times\r\n" in user.run("cat /input/*/*")
        assert "Read-only file system" in user.run("echo x > /input/3/cities.txt")
    with at_prompt(running, "--reduce") as user:
        assert "\r\nnone\r\n" in user.run("ls /input; echo none")


def test_a_command_without_a_terminal(running: RunningStore, store: Store) -> None:
    answer = running.manta(
        "login", "-c", 'cat; wc -l < "$MANTA_INPUT_FILE"; seq 20000; exit 9', "s3://books/cities.txt"
    )
    assert answer.returncode == 9, answer
    assert answer.stdout == b"1\n" + b"".join(b"%d\n" % number for number in range(1, 20001))


def test_what_is_refused_says_why(running: RunningStore, store: Store) -> None:
    answer = running.manta("login", "s3://books/cities.txt")
    assert (answer.returncode, b"needs a terminal" in answer.stderr) == (2, True)
    answer = running.manta("login", "-c", "true", "s3://books/none")
    assert (answer.returncode, b"s3://books/none: " in answer.stderr) == (6, True), answer
    answer = running.manta("login", "-c", "true", "s3://books/a", "s3://books/b")
    assert (answer.returncode, b"--reduce" in answer.stderr) == (2, True)
    answer = running.manta("login", "--timeout", "9d", "-c", "true", "s3://books/cities.txt")
    assert answer.returncode != 0
    assert b"at most 12h" in answer.stderr


@pytest.mark.invariant("S1")
def test_an_object_of_another_account_is_denied(running: RunningStore, store: Store) -> None:
    store.api("POST", "/accounts", body={"name": "mallory", "access_key": "MALLORYSKEY", "secret_key": "m" * 40})
    environment = {**running.environment, "AWS_ACCESS_KEY_ID": "MALLORYSKEY", "AWS_SECRET_ACCESS_KEY": "m" * 40}
    command = [sys.executable, "-m", "manta.cli.main", "login", "-c", "cat /input/*", "s3://books/cities.txt"]
    answer = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert (answer.returncode, answer.stdout) == (7, b"")
    assert b"Access Denied" in answer.stderr or b"denied" in answer.stderr.lower()


@pytest.mark.invariant("S5")
def test_limits_end_the_session_and_say_which(running: RunningStore, store: Store) -> None:
    answer = running.manta("login", "--timeout", "1s", "-c", "sleep 7005", "s3://books/cities.txt")
    assert (answer.returncode, b"timeout of 1 s" in answer.stderr) == (1, True)
    assert not sleepers(running, 7005)
    if os.geteuid() == 0:
        hog = "import time; x = bytearray(200 << 20); time.sleep(30)"
        answer = running.manta("login", "--memory", "64M", "-c", f'python3 -c "{hog}"', "s3://books/cities.txt")
        assert (answer.returncode, b"64 MiB of memory" in answer.stderr) == (1, True), answer


@pytest.mark.slow
def test_an_account_has_so_many_sessions_on_a_node(running: RunningStore, store: Store) -> None:
    """Two nodes hold the object: one more than both take is refused, and a place that was left is free again."""
    with ExitStack() as stack:
        users = [
            stack.enter_context(at_prompt(running, "s3://books/cities.txt"))
            for _ in range(2 * LOGIN_ACCOUNT_SESSIONS_MAX)
        ]
        answer = running.manta("login", "-c", "true", "s3://books/cities.txt")
        assert (answer.returncode, b"end one of them" in answer.stderr) == (1, True), answer
        users[0].type("exit\r")
        assert users[0].status() == 0
        assert running.manta("login", "-c", "true", "s3://books/cities.txt").returncode == 0


def test_programs_for_jobs_say_that_this_is_none(user: UserTerminal) -> None:
    assert "A login session is no job" in user.run("mls books; echo")
