"""The object commands as a user types them."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.support.ordinary_user import user_of
from tests.support.store import RunningStore
from tests.support.terminal import UserTerminal
from tests.support.waiting import await_condition


@pytest.fixture
def store(serve: Serve) -> RunningStore:
    running = serve("--lanes", "0")
    assert running.manta("mb", "s3://docs").returncode == 0
    return running


def _ok(store: RunningStore, *arguments: str, stdin: bytes | None = None) -> bytes:
    result = store.manta(*arguments, stdin=stdin)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_from_stdin_to_stdout_and_away(store: RunningStore) -> None:
    data = os.urandom(3_000_000)
    _ok(store, "put", "-", "s3://docs/a b/ü%41.bin", stdin=data)
    assert _ok(store, "cat", "s3://docs/a b/ü%41.bin") == data
    _ok(store, "cp", "s3://docs/a b/ü%41.bin", "s3://docs/copy")
    assert _ok(store, "cat", "s3://docs/copy") == data
    listed = [json.loads(line) for line in _ok(store, "ls", "-r", "--json", "s3://docs").splitlines()]
    assert [(entry["key"], entry["size"]) for entry in listed] == [("a b/ü%41.bin", len(data)), ("copy", len(data))]
    _ok(store, "rm", "-r", "s3://docs/")
    assert _ok(store, "ls", "-r", "s3://docs") == b""
    _ok(store, "rb", "s3://docs")
    assert _ok(store, "ls") == b""


def test_a_file_that_says_nothing_true_of_its_size_is_put_whole_from_stdin(store: RunningStore) -> None:
    command = [sys.executable, "-m", "manta.cli.main", "put", "-", "s3://docs/a"]
    for path in ("/proc/self/mounts", "/sys/kernel/mm/transparent_hugepage/enabled"):
        with open(path, "rb") as file:
            done = subprocess.run(
                command, stdin=file, stderr=subprocess.PIPE, env=store.environment, check=False, timeout=60
            )
        assert (done.returncode, done.stderr) == (0, b"")
        assert _ok(store, "cat", "s3://docs/a") == Path(path).read_bytes() != b""


def test_folders_go_up_and_come_down(store: RunningStore, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in ("a.txt", "deep/b.txt", "deep/er/c.bin"):
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    _ok(store, "put", "-r", str(source), "s3://docs/tree/")
    assert _ok(store, "find", "s3://docs/tree", "--name", "*.txt").decode().split() == [
        "s3://docs/tree/a.txt",
        "s3://docs/tree/deep/b.txt",
    ]
    folder = _ok(store, "ls", "s3://docs/tree/").decode()
    assert "s3://docs/tree/deep/" in folder
    assert "b.txt" not in folder
    _ok(store, "get", "-r", "s3://docs/tree/", str(tmp_path / "target"))
    found = {p.relative_to(tmp_path / "target").as_posix(): p.read_text() for p in tmp_path.glob("target/**/*.*")}
    assert found == {name: name for name in ("a.txt", "deep/b.txt", "deep/er/c.bin")}
    _ok(store, "get", "s3://docs/tree/a.txt", str(tmp_path / "one"))
    assert (tmp_path / "one").read_text() == "a.txt"


@pytest.mark.invariant("S2")
def test_a_key_cannot_lead_out_of_the_folder_it_is_fetched_into(store: RunningStore, tmp_path: Path) -> None:
    _ok(store, "put", "-", "s3://docs/../../escaped", stdin=b"x")
    result = store.manta("get", "-r", "s3://docs", str(tmp_path / "into"))
    assert result.returncode == 1
    assert b"lead out" in result.stderr
    assert not list(tmp_path.rglob("escaped"))


def test_markers_of_folders_become_folders(store: RunningStore, tmp_path: Path) -> None:
    """Other programs make an empty object `deep/` for a folder."""
    with store.client() as client:
        for key in ("deep/", "deep/er/", "deep/er/c", "empty/"):
            client.write(f"s3://docs/{key}", b"" if key.endswith("/") else b"x")
    _ok(store, "get", "-r", "s3://docs", str(tmp_path / "into"))
    found = {path.relative_to(tmp_path / "into").as_posix(): path.is_dir() for path in tmp_path.glob("into/**/*")}
    assert found == {"deep": True, "deep/er": True, "deep/er/c": False, "empty": True}
    _ok(store, "get", "-r", "s3://docs/deep/", str(tmp_path / "below"))
    assert sorted(path.name for path in tmp_path.glob("below/**/*")) == ["c", "er"]


def test_an_object_never_takes_the_place_of_another_as_it_is_fetched(store: RunningStore, tmp_path: Path) -> None:
    """No file can be beside a folder of its name: that is said, and nothing is written where something else belongs."""
    for key in ("name", "name/deep"):
        _ok(store, "put", "-", f"s3://docs/{key}", stdin=key.encode())
    for first in ("name", "name/deep"):
        into = tmp_path / first.replace("/", "-")
        (into / first).parent.mkdir(parents=True)
        (into / first).write_text("before")
        result = store.manta("get", "-r", "s3://docs", str(into))
        text = result.stderr.decode()
        assert (result.returncode, "cannot be written to" in text, len(text.splitlines())) == (2, True, 1), text
        assert not (into / "name/name").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["cat", "s3://docs/none"], 6, "s3://docs/none"),
        (["ls", "s3://nowhere"], 6, "bucket"),
        (["rb", "s3://nowhere"], 6, "bucket"),
        (["cat", "docs/none"], 2, "s3://bucket/key"),
        (["put", "/no/such/file", "s3://docs/x"], 2, "/no/such/file cannot be read"),
        (["put", "a", "b", "s3://docs/x"], 2, "Several files need a target that ends in `/`: s3://docs/x/"),
        (["stat", "s3://docs/none"], 6, "s3://docs/none does not exist."),
        (["rm", "s3://docs/"], 2, "add -r"),
        (["cat", "s3://docs/none*"], 6, "Nothing lies at"),
        (["get", "s3://docs/x", "/no/such/folder/x"], 2, "There is no folder"),
        (["get", f"s3://docs/{'x' * 256}"], 2, "File name too long"),
        (["mb", "s3://Bad_Name"], 2, "Bad_Name"),
    ],
)
def test_errors_are_one_sentence_and_the_code_says_which(
    store: RunningStore, arguments: list[str], code: int, said: str
) -> None:
    result = store.manta(*arguments)
    text = result.stderr.decode()
    assert (result.returncode, said in text, len(text.splitlines())) == (code, True, 1), text
    assert result.stdout == b""


def test_what_is_got_harms_nothing_that_lies_beside_it(store: RunningStore, tmp_path: Path) -> None:
    """Whatever the other objects and files are named, while it is not yet whole."""
    contents = {"film": os.urandom(20_000_000), "film.part": b"of a film", "n" * 255: b"as long as a name may be"}
    with store.client() as client:
        for name, content in contents.items():
            client.write(f"s3://docs/all/{name}", content)
    _ok(store, "get", "-r", "s3://docs/all/", str(tmp_path / "all"))
    assert {path.name: path.read_bytes() for path in (tmp_path / "all").iterdir()} == contents
    (tmp_path / "film.part").write_bytes(b"my own")
    _ok(store, "get", "s3://docs/all/film", str(tmp_path))
    assert (tmp_path / "film.part").read_bytes() == b"my own"


def test_a_pipe_stays_one_and_takes_what_is_got(store: RunningStore, tmp_path: Path) -> None:
    """So does a device: root's /dev/null is not to become a file."""
    _ok(store, "put", "-", "s3://docs/a", stdin=b"for the pipe")
    os.mkfifo(tmp_path / "pipe")
    reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        _ok(store, "get", "s3://docs/a", str(tmp_path / "pipe"))
        assert os.read(reading, 100) == b"for the pipe"
    finally:
        os.close(reading)


@pytest.mark.parametrize("stdout", ["-", "/dev/stdout", "/dev/fd/1"])
def test_what_is_got_to_stdout_goes_where_the_shell_writes(store: RunningStore, tmp_path: Path, stdout: str) -> None:
    """Into the midst of a file that has something already, and gets more."""
    _ok(store, "put", "-", "s3://docs/a", stdin=b"got\n")
    get = f"'{sys.executable}' -m manta.cli.main get s3://docs/a {stdout}"
    (tmp_path / "log").write_bytes(b"old\n")
    for written in (f"({get}; echo more) >> log", f"(echo head; {get}; echo tail) > file"):
        subprocess.run(["bash", "-c", written], cwd=tmp_path, env=store.environment, check=True)
    assert (tmp_path / "log").read_bytes() == b"old\ngot\nmore\n"
    assert (tmp_path / "file").read_bytes() == b"head\ngot\ntail\n"


@pytest.mark.parametrize(
    ("name", "opened"),
    [("/dev/stderr", 2), ("//dev//stderr", 2), ("/dev/fd/7", 7), ("/proc/thread-self/fd/7", 7), ("link/7", 7)],
)
def test_what_is_got_to_a_descriptor_goes_where_it_is(
    store: RunningStore, tmp_path: Path, name: str, opened: int
) -> None:
    """Of any size: what has more than one range, too, comes in its order."""
    content = os.urandom(30_000_000)
    _ok(store, "put", "-", "s3://docs/a", stdin=content)
    get = f"'{sys.executable}' -m manta.cli.main get s3://docs/a {name}"
    (tmp_path / "link").symlink_to("/dev/fd")
    (tmp_path / "log").write_bytes(b"old\n")
    for written in (f"{get} {opened}>> log", f"(echo head >&{opened}; {get}; echo tail >&{opened}) {opened}> file"):
        subprocess.run(["bash", "-c", written], cwd=tmp_path, env=store.environment, check=True)
    assert (tmp_path / "log").read_bytes() == b"old\n" + content
    assert (tmp_path / "file").read_bytes() == b"head\n" + content + b"tail\n"


def test_a_descriptor_that_nobody_opened_is_not_one_of_ours(store: RunningStore) -> None:
    """The number of a connection to the store, say, which would take the object for requests."""
    _ok(store, "put", "-", "s3://docs/a", stdin=b"got\n")
    for number in range(3, 12):
        lost = store.manta("get", "s3://docs/a", f"/dev/fd/{number}")
        assert (lost.returncode, b"Bad file descriptor" in lost.stderr) == (2, True), lost
        link = store.data.parent / f"link{number}"
        link.symlink_to(f"/dev/fd/{number}")
        got = store.manta("get", "s3://docs/a", str(link))
        assert got.returncode == 2 or (
            got.returncode == 0 and not link.is_symlink() and link.read_bytes() == b"got\n"
        ), got
    others = store.manta("get", "s3://docs/a", f"/proc/{os.getpid()}/fd/1")
    assert (others.returncode, b"another program has opened" in others.stderr) == (2, True), others


def test_a_dash_with_its_folder_is_a_file(store: RunningStore) -> None:
    _ok(store, "put", "-", "s3://docs/a", stdin=b"got\n")
    assert _ok(store, "get", "s3://docs/a", "./-") == b""
    assert (store.data.parent / "-").read_bytes() == b"got\n"


def test_a_link_to_what_the_shell_opened_is_replaced_and_that_is_not(store: RunningStore, tmp_path: Path) -> None:
    """Under its default name an object may meet one."""
    _ok(store, "put", "-", "s3://docs/a", stdin=b"got\n")
    (tmp_path / "a").symlink_to("/dev/stdout")
    (tmp_path / "log").write_bytes(b"old\n")
    get = f"(echo head; '{sys.executable}' -m manta.cli.main get s3://docs/a; echo tail) >> log"
    subprocess.run(["bash", "-c", get], cwd=tmp_path, env=store.environment, check=True)
    assert (tmp_path / "log").read_bytes() == b"old\nhead\ntail\n"
    assert (tmp_path / "a").read_bytes() == b"got\n"


@pytest.mark.parametrize(
    "command",
    ["get s3://docs/a", "get -r s3://docs/", f"get s3://docs/a {'n' * 300}", f"put {'n' * 300} s3://docs/b"],
)
def test_a_folder_that_is_gone_and_names_too_long_are_no_defects(
    store: RunningStore, tmp_path: Path, command: str
) -> None:
    _ok(store, "put", "-", "s3://docs/a", stdin=b"got\n")
    gone = f"mkdir gone; cd gone; rmdir ../gone; '{sys.executable}' -m manta.cli.main {command}"
    environment = {**store.environment, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(["bash", "-c", gone], cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1), done
    piped = gone.replace(command, "put - s3://docs/b")
    subprocess.run(["bash", "-c", piped], cwd=tmp_path, env=environment, input=b"x", check=True)


def test_a_reader_that_lets_nobody_wait_gets_all(store: RunningStore) -> None:
    """Some programs leave their pipes so; others have Python write at once."""
    content = os.urandom(5_000_000)
    _ok(store, "put", "-", "s3://docs/a", stdin=content)
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    command = [sys.executable, "-m", "manta.cli.main", "cat", "s3://docs/a"]
    with open(ours, "rb") as reader:
        with subprocess.Popen(command, stdout=theirs, env={**store.environment, "PYTHONUNBUFFERED": "1"}) as process:
            os.close(theirs)
            assert reader.read() == content
        assert process.returncode == 0


def test_several_objects_are_not_got_to_stdout(store: RunningStore) -> None:
    """Not even into a folder of its name; how they are is said."""
    _ok(store, "put", "-", "s3://docs/a", stdin=b"got")
    for arguments in (("-r", "s3://docs/"), ("s3://docs/*",)):
        refused = store.manta("get", *arguments, "-")
        assert (refused.returncode, b"`manta cat " in refused.stderr) == (2, True), refused
    assert not (store.data.parent / "-").exists()


def test_no_file_takes_the_place_of_another_unseen(store: RunningStore, tmp_path: Path) -> None:
    """Two folders with one name in them, and two keys that are one path."""
    for folder in ("mine", "yours"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "notes").write_text(folder)
    put = store.manta("put", "-r", str(tmp_path / "mine"), str(tmp_path / "yours"), "s3://docs/all/")
    assert (put.returncode, b"would both become s3://docs/all/notes:" in put.stderr) == (2, True), put
    with store.client() as client:
        client.write("s3://docs/all/a/b", b"1")
        client.write("s3://docs/all/a//b", b"2")
    assert _ok(store, "find", "s3://docs") == b"s3://docs/all/a//b\ns3://docs/all/a/b\n"
    get = store.manta("get", "-r", "s3://docs/all/", str(tmp_path / "got"))
    assert (get.returncode, b"would both become " in get.stderr) == (2, True), get
    assert not (tmp_path / "got").exists()
    with store.client() as client:
        client.remove("s3://docs/all/a//b")
        client.write("s3://docs/all/a/c/../b", b"3")
    get = store.manta("get", "-r", "s3://docs/all/", str(tmp_path / "got"))
    assert (get.returncode, b"would both become " in get.stderr) == (2, True), get


def test_what_is_the_same_twice_is_no_twin(store: RunningStore, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    _ok(store, "put", str(tmp_path / "a"), f"{tmp_path}/./a", "s3://docs/all/")
    with store.client() as client:
        client.write("s3://docs/all/folder/", b"")
        client.write("s3://docs/all/folder//", b"")
    _ok(store, "get", "-r", "s3://docs/all/", str(tmp_path / "got"))
    assert sorted(path.name for path in (tmp_path / "got").iterdir()) == ["a", "folder"]


def test_a_folder_with_a_link_can_be_put_and_got_back(store: RunningStore, tmp_path: Path) -> None:
    """As libraries lie: one name, and a link to it. A name that leads to itself is replaced as any other."""
    folder = tmp_path / "lib"
    folder.mkdir()
    (folder / "lib.so.1").write_bytes(b"library")
    (folder / "lib.so").symlink_to("lib.so.1")
    _ok(store, "put", "-r", str(folder), "s3://docs/lib")
    (folder / "lib.so.1").write_bytes(b"older")
    _ok(store, "put", "-", "s3://docs/lib/itself", stdin=b"itself")
    (folder / "itself").symlink_to("itself")
    _ok(store, "get", "-r", "s3://docs/lib/", str(folder))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "lib.so": b"library",
        "lib.so.1": b"library",
        "itself": b"itself",
    }


def test_a_folder_that_cannot_be_read_is_not_left_out_unseen(store: RunningStore, tmp_path: Path) -> None:
    user = user_of("user")
    closed = tmp_path / "mine" / "closed"
    closed.mkdir(parents=True)
    (tmp_path / "mine" / "a").write_bytes(b"a")
    tmp_path.chmod(0o755)
    closed.chmod(0)
    command = [sys.executable, "-m", "manta.cli.main", "put", "-r", "mine", "s3://docs/all/"]
    put = subprocess.run(
        command, cwd=tmp_path, env=store.environment, user=user, group=user, capture_output=True, check=False
    )
    closed.chmod(0o700)
    assert (put.returncode, put.stderr) == (2, b"manta: mine/closed cannot be read: Permission denied.\n")
    assert _ok(store, "find", "s3://docs") == b""


def test_a_name_that_is_no_utf8_is_told(store: RunningStore, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    name = os.fsdecode(b"caf\xe9")
    (folder / name).write_bytes(b"x")
    put = store.manta("put", str(folder / name), "s3://docs/")
    assert (put.returncode, b"Keys are UTF-8" in put.stderr, put.stderr.count(b"\n")) == (2, True, 1), put
    (folder / "a").write_bytes(b"x")
    assert store.manta("put", "-r", str(folder), "s3://docs/all/").returncode == 2
    assert _ok(store, "find", "s3://docs") == b""
    _ok(store, "put", str(folder / name), "s3://docs/coffee")
    _ok(store, "get", "s3://docs/coffee", str(folder / name) + "2")
    assert Path(folder, name + "2").read_bytes() == b"x"
    (folder / name).write_text('{"phases": [{"type": "map", "exec": "cat"}]}')
    _ok(store, "job", "explain", "--file", str(folder / name), "s3://docs/coffee")


def test_a_full_disk_under_stdout_is_no_defect(store: RunningStore) -> None:
    _ok(store, "put", "-", "s3://docs/a", stdin=bytes(100_000))
    for command in (["cat", "s3://docs/a"], ["ls", "s3://docs"]):
        with open("/dev/full", "wb") as full:
            arguments = [sys.executable, "-m", "manta.cli.main", *command]
            done = subprocess.run(arguments, stdout=full, stderr=subprocess.PIPE, env=store.environment, check=False)
        assert (done.returncode, done.stderr) == (1, b"manta: stdout cannot be written: No space left on device.\n")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_nor_is_a_file_that_may_grow_no_more(store: RunningStore, tmp_path: Path, unbuffered: str) -> None:
    _ok(store, "put", "-", "s3://docs/a", stdin=bytes(100_000))
    cat = f"ulimit -f 1; '{sys.executable}' -m manta.cli.main cat s3://docs/a > file"
    environment = {**store.environment, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(["bash", "-c", cat], cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (1, b"manta: stdout cannot be written: File too large.\n")


def test_a_key_moves_nobodys_cursor(store: RunningStore) -> None:
    """On a terminal its control characters are shown; a program gets the key as it is."""
    with store.client() as client:
        client.write("s3://docs/rude/\x1b[2J\r\u009bgone", b"x")
    assert _ok(store, "find", "s3://docs/rude").decode() == "s3://docs/rude/\x1b[2J\r\u009bgone\n"
    with UserTerminal(store, "find", "s3://docs/rude") as user:
        assert user.status() == 0
        assert user.shown == b"s3://docs/rude/\\x1b[2J\\x0d\\x9bgone\r\n"


def test_json_moves_nobodys_cursor_and_is_still_json(store: RunningStore) -> None:
    key = "rude/\x7f\x1b[2J\u009b\u202eüñ\u3000日\U000e0001"
    with store.client() as client:
        client.write(f"s3://docs/{key}", b"x")
    assert json.loads(_ok(store, "find", "--json", "s3://docs/rude"))["key"] == key
    piped = _ok(store, "find", "--json", "s3://docs/rude")
    assert (json.loads(piped)["key"], key[-1].encode() in piped) == (key, True)
    with UserTerminal(store, "find", "--json", "s3://docs/rude") as user:
        assert user.status() == 0
        assert json.loads(user.shown)["key"] == key
        assert user.shown.decode().removesuffix("\r\n").replace("\u3000", "").isprintable()
        assert "üñ\u3000日" in user.shown.decode()


def test_everything_below_a_prefix_can_be_removed_whatever_it_is_named(store: RunningStore) -> None:
    """XML, in which many keys are removed at once, has no words for some characters."""
    with store.client() as client:
        for name in ("\x1b[2J", "\uffff", "a\rb", "a\nb", "<&>", "plain"):
            client.write(f"s3://docs/rude/{name}", b"x")
        client.write("s3://docs/a\nb", b"x")
    _ok(store, "rm", "-r", "s3://docs/rude/")
    assert _ok(store, "find", "s3://docs") == b"s3://docs/a\nb\n"


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("ls s3://docs >&-", 0),
        ("ls s3://nowhere >&-", 6),
        ("put - s3://docs/x <&-", 2),
        ("job run -m wc - <&-", 2),
        ("login s3://docs/nothing -c true <&-", 6),
        ("put /etc/passwd s3://docs/x 2>&-", 0),
        ("cat s3://docs/nothing 2>&-", 6),
    ],
)
def test_a_closed_stream_is_no_defect(store: RunningStore, written: str, code: int) -> None:
    command = ["bash", "-c", f"'{sys.executable}' -m manta.cli.main {written}"]
    done = subprocess.run(command, capture_output=True, env=store.environment, check=False)
    assert (done.returncode, done.stdout, b"defect" in done.stderr) == (code, b"", False), done.stderr


@pytest.mark.parametrize("before", [b"", bytes(20_000_000)], ids=["nothing", "some parts"])
def test_an_upload_that_waits_for_stdin_can_be_interrupted(store: RunningStore, before: bytes) -> None:
    command = [sys.executable, "-m", "manta.cli.main", "put", "-", "s3://docs/never"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=store.environment) as process:
        assert process.stdin is not None
        process.stdin.write(before)
        process.stdin.flush()
        await_condition(lambda: b"poll" in _waits_in(process.pid), "the command to wait for more")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert store.manta("stat", "s3://docs/never").returncode == 6


def _waits_in(pid: int) -> bytes:
    """The kernel's functions that its threads wait in."""
    return b" ".join(path.read_bytes() for path in Path(f"/proc/{pid}/task").glob("*/wchan"))


def test_a_wrong_key_is_denied(store: RunningStore) -> None:
    store.environment["AWS_SECRET_ACCESS_KEY"] = "wrong"
    result = store.manta("ls")
    assert result.returncode == 7
    assert b"signature" in result.stderr.lower()


def test_a_signed_url_works_without_keys(store: RunningStore) -> None:
    _ok(store, "put", "-", "s3://docs/public", stdin=b"for you")
    url = _ok(store, "sign", "s3://docs/public").decode().strip()
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"for you"


def test_accounts_are_apart(store: RunningStore) -> None:
    _ok(store, "put", "-", "s3://docs/mine", stdin=b"root's")
    made = _ok(store, "account", "create", "alice").decode()
    keys = dict(line.split(" = ") for line in made.splitlines() if " = " in line)
    root = dict(store.environment)
    store.environment |= {
        "AWS_ACCESS_KEY_ID": keys["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": keys["aws_secret_access_key"],
    }
    assert _ok(store, "ls") == b""
    assert store.manta("cat", "s3://docs/mine").returncode == 7
    assert store.manta("put", "-", "s3://docs/hers", stdin=b"x").returncode == 7
    assert store.manta("account", "list").returncode == 7
    _ok(store, "mb", "s3://alices")
    _ok(store, "put", "-", "s3://alices/a", stdin=b"x")
    store.environment.update(root)
    assert b"alice" in _ok(store, "account", "list")
    refused = store.manta("account", "rm", "alice")
    assert refused.returncode == 1
    _ok(store, "rm", "-r", "s3://alices/")
    _ok(store, "rb", "s3://alices")
    _ok(store, "account", "rm", "alice")


def test_the_last_started_store_is_found_without_any_setting(store: RunningStore) -> None:
    for name in ("MANTA_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del store.environment[name]
    assert _ok(store, "ls") == b"s3://docs\n"


def test_doctor_finds_this_machine_fit(store: RunningStore) -> None:
    result = store.manta("doctor", "--data", str(store.data))
    assert result.returncode == 0, result.stdout
    assert b"ok    catalog: ok" in result.stdout
    assert b"ok    running store: " in result.stdout


def test_find_takes_sizes_as_people_write_them(store: RunningStore) -> None:
    for name, size in (("small", 1023), ("kilo", 1024), ("large", 5 << 20)):
        _ok(store, "put", "-", f"s3://docs/{name}", stdin=bytes(size))
    assert _ok(store, "find", "s3://docs/", "--larger", "1K", "--smaller", "4.5M").split() == [b"s3://docs/kilo"]
    assert _ok(store, "find", "s3://docs/", "--larger", "5M").split() == [b"s3://docs/large"]
    refused = store.manta("find", "s3://docs/", "--larger", "lots")
    assert (refused.returncode, b"--larger" in refused.stderr) == (2, True)
