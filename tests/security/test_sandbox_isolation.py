"""What a task sees, reaches and leaves behind: only what is its own (S4)."""

import asyncio
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.sandbox.api import TaskInput, TaskSpec, ZoneInitError
from jobs.sandbox.building.builders import builder_choice
from jobs.sandbox.first_process.protocol import ENVIRONMENT_MAX
from jobs.sandbox.zone import ForkServerZone
from manta.core.errors import InvalidArgument, NoSuchBlob, SandboxUnavailable
from tests.support.sandbox import FORK_SERVERS, ZONE, Workshop, run_in, zone_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.invariant("S4")

NAMES = ("plain.txt", "two words.txt", "ünïcödé-名前", "line\nbreak", "%41", "-rf", "a'b\"c$d", "x" * 255)


async def test_s4_stdin_and_the_named_file_are_the_object(workshop: Workshop) -> None:
    ended = await workshop.run_on_blob("wc -l; wc -c < /input/input.txt; ls /input; pwd")
    assert (ended.status, ended.out) == (0, "2\n30\ninput.txt\n/scratch\n")


@pytest.mark.parametrize("name", NAMES)
async def test_s4_an_input_appears_under_any_name(workshop: Workshop, name: str) -> None:
    env = {"MANTA_INPUT_FILE": f"/input/{name}"}
    ended = await workshop.run('wc -c < "$MANTA_INPUT_FILE"', blob=workshop.blob, input_name=name, env=env)
    assert (ended.status, ended.out) == (0, "30\n")


async def test_s4_an_input_without_a_blob_is_an_empty_file(workshop: Workshop) -> None:
    ended = await workshop.run("wc -c; wc -c < /input/none", input_name="none")
    assert (ended.status, ended.out) == (0, "0\n0\n")


async def test_s4_stdin_may_be_a_pipe(workshop: Workshop) -> None:
    ours, theirs = os.pipe()
    os.write(theirs, b"a\nb\nc\n")
    os.close(theirs)
    try:
        assert (await workshop.run("wc -l", stdin_fd=ours)).out == "3\n"
    finally:
        os.close(ours)


async def test_s4_stdin_is_empty_without_input(workshop: Workshop) -> None:
    assert (await workshop.run("wc -c; ls /input")).out == "0\n"


async def test_s4_standard_streams_can_be_opened_by_path(workshop: Workshop) -> None:
    ended = await workshop.run("echo out > /dev/stdout; echo err > /dev/stderr; cat /dev/fd/0")
    assert (ended.status, ended.out, ended.err) == (0, "out\n", "err\n")


async def test_s4_no_descriptor_leaks(workshop: Workshop) -> None:
    ended = await workshop.run_on_blob("exec ls /proc/self/fd")
    assert ended.out.split() == ["0", "1", "2", "3"]  # 3 is the folder that ls reads


async def test_s4_the_environment_is_the_given_one(workshop: Workshop) -> None:
    os.environ["SECRET_OF_THE_NODE"] = "secret"
    try:
        ended = await workshop.run("env", env={"NAME": "a b\nc", "OTHER": "ö=ü"})
    finally:
        del os.environ["SECRET_OF_THE_NODE"]
    lines = {line for line in ended.out.splitlines() if not line.startswith(("PWD=", "SHLVL=", "_="))}
    assert lines == {"PATH=/usr/local/bin:/usr/bin:/bin", "NAME=a b", "c", "OTHER=ö=ü"}


async def test_a_plain_command_runs_as_a_shell_would_run_it(workshop: Workshop) -> None:
    """Such a command is executed without a shell, where the fork server can."""
    path = {"PATH": "/nowhere:/zone/bin:/usr/bin:/bin"}
    assert (await workshop.run_on_blob("wc -l")).out == "2\n"
    assert (await workshop.run("/usr/bin/wc  -c")).out == "0\n"
    assert (await workshop.run("false", env=path)).status == 1
    missing = await workshop.run("no-such-program -x", env=path)
    assert (missing.status, "no-such-program: command not found" in missing.err) == (127, True)
    folder = await workshop.run("/usr")
    assert (folder.status, "/usr: " in folder.err) == (126, True)
    nothing = await workshop.run("wc", env={"PATH": ""})
    assert nothing.status == 127


async def test_s4_a_task_sees_its_own_processes_alone(workshop: Workshop) -> None:
    async with zone_of(workshop.sandbox, name="zone-2") as neighbour:
        ours, theirs = os.pipe()
        sleeping = asyncio.create_task(
            neighbour.run(TaskSpec("echo up; sleep 60", {"PATH": "/usr/bin"}, 60.0, theirs, theirs))
        )
        assert await asyncio.to_thread(os.read, ours, 10) == b"up\n"
        ended = await workshop.run("cat /proc/[0-9]*/comm; kill -9 -1")
        assert set(ended.out.split()) <= {"forkserver", "bash", "cat"}, ended
        assert not sleeping.done()
        await neighbour.kill()
        assert (await sleeping).overrun == "killed"
        os.close(ours)
        os.close(theirs)


async def test_s4_the_first_process_of_a_task_is_out_of_its_reach(workshop: Workshop) -> None:
    ended = await workshop.run(
        "cat /proc/1/environ /proc/1/maps; readlink /proc/1/fd/1 /proc/1/exe /proc/1/root; ls /proc/1/root/;"
        "kill -9 1; echo x > /proc/1/mem; echo x > /proc/1/fd/1; kill -0 1 && echo alive"
    )
    assert ended.out == "alive\n"


async def test_s4_there_is_no_network(workshop: Workshop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        source = f"""
import socket
for address in (("127.0.0.1", {port}), ("192.0.2.1", 80), ("10.0.0.1", 80)):
    try:
        socket.create_connection(address, timeout=2)
        print("reached", address)
    except OSError:
        pass
for family, kind in ((40, 1), (17, 3), (16, 3), (38, 5), (44, 3)):
    try:
        socket.socket(family, kind)
        print("has family", family)
    except OSError:
        pass
print([line.split(":")[0].strip() for line in open("/proc/net/dev").readlines()[2:]])
"""
        ended = await workshop.python(source)
    assert ended.out == "['lo']\n", ended


async def test_s4_sockets_of_the_host_are_not_reached(workshop: Workshop) -> None:
    name = f"\0manta-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        listener.listen()
        ended = await workshop.python(f"import socket\nsocket.socket(socket.AF_UNIX).connect({name!r})")
    assert "ConnectionRefusedError" in ended.err


async def test_s4_nothing_but_scratch_is_writable(workshop: Workshop) -> None:
    source = """
import os
def writable(folder):
    try:
        os.close(os.open(folder + "/new", os.O_CREAT | os.O_WRONLY))
        return True
    except OSError:
        return False
folders = (folder for folder, _, _ in os.walk("/") if not folder.startswith("/proc"))
found = {os.path.realpath(folder) for folder in folders if writable(folder)}
print(sorted(found), os.path.realpath("/tmp"), os.path.realpath("/var/tmp"), os.path.realpath("/dev/shm"))
"""
    ended = await workshop.python(source, on_blob=True)
    assert ended.out == "['/scratch'] /scratch /scratch /scratch\n", ended


async def test_s4_scratch_is_fresh_for_every_task(workshop: Workshop) -> None:
    assert (await workshop.run("echo mine > /scratch/file; mkfifo pipe; ls")).out == "file\npipe\n"
    assert (await workshop.run("ls -A /scratch /tmp/ /var/tmp/")).out == "/scratch:\n\n/tmp/:\n\n/var/tmp/:\n"


async def test_s4_shared_memory_does_not_outlive_a_task(workshop: Workshop) -> None:
    """System V's kinds, whose memory no rlimit counts, there are none of; message queues are the task's own."""
    assert (await workshop.run("ipcmk -M 4096 || ipcmk -Q || ipcmk -S 1")).err.count("Function not implemented") == 3
    queue = "from ctypes import *; print(CDLL(None).mq_open(b'/left', {flags}, 0o600, (c_long * 8)(0, 4, 64)) >= 0)"
    assert (await workshop.python(queue.format(flags=0o102))).out == "True\n"
    assert (await workshop.python(queue.format(flags=0o2))).out == "False\n"


async def test_s4_no_host_path_or_name_is_shown(workshop: Workshop) -> None:
    """The mount table names the blob's own path; nothing of the fork server, the state folder or the tenant."""
    ended = await workshop.run_on_blob("cat /proc/self/mountinfo /proc/*/cmdline /etc/passwd; hostname; env; id -un")
    for word in (str(workshop.state), "alice", os.uname().nodename, "zone-1"):
        assert word not in ended.out
    assert ended.out.count(workshop.blob) == 1


async def test_s4_a_task_has_no_privilege(workshop: Workshop) -> None:
    ended = await workshop.run("grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status | tr -d '\\t'")
    assert ended.out.split() == [
        *(f"Cap{kind}:0000000000000000" for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")),
        "NoNewPrivs:1",
        "Seccomp:2",
    ]


async def test_s4_a_daemon_dies_with_its_task(workshop: Workshop) -> None:
    """A double-forked child with a session of its own holds the pipe open: the reader's end comes all the same."""
    ended = await workshop.run("(setsid bash -c 'trap \"\" TERM HUP; while :; do sleep 1; done' &) ; echo started")
    assert (ended.status, ended.out) == (0, "started\n")


async def test_s4_a_zone_serves_on_after_misbehaviour(workshop: Workshop) -> None:
    for command in ("kill -9 $$", "kill -SEGV $$", "exit 7", "kill -9 -1; kill -9 1; exec sleep 60 & kill -9 0"):
        await workshop.run(command)
    assert (await workshop.run_on_blob("wc -l")).out == "2\n"


async def test_s4_tenants_have_uids_of_their_own(workshop: Workshop) -> None:
    """As root; an ordinary user has one uid for all, and namespaces alone between them."""

    def uids(zone: object) -> set[str]:
        assert isinstance(zone, ForkServerZone)
        status = Path(f"/proc/{zone.pid}/status").read_text()
        return set(status.partition("Uid:")[2].partition("\n")[0].split())

    async with zone_of(workshop.sandbox, tenant="bob") as other, zone_of(workshop.sandbox) as same:
        assert uids(workshop.zone) == uids(same)
        if os.geteuid() == 0:
            assert uids(other).isdisjoint(uids(same) | {"0"})
        else:
            assert uids(other) == {str(os.geteuid())}


async def test_s4_init_prepares_what_tasks_read(workshop: Workshop) -> None:
    async with zone_of(workshop.sandbox, init="echo prepared > table; pwd", env={"PATH": "/usr/bin:/bin"}) as zone:
        for _ in range(2):
            ended = await run_in(zone, "cat /zone/table; echo x >> /zone/table; echo y > /zone/new")
            assert ended.out == "prepared\n"
            assert ended.err.count("Read-only file system") == 2


async def test_s4_a_failing_init_is_told(workshop: Workshop) -> None:
    with pytest.raises(ZoneInitError, match=r"exit status 3; it said: no such table"):
        async with zone_of(workshop.sandbox, init="echo no such table >&2; exit 3", env={"PATH": "/usr/bin:/bin"}):
            pass
    with pytest.raises(ZoneInitError, match="timeout"):
        async with zone_of(workshop.sandbox, init="sleep 60", init_timeout_s=0.2, env={"PATH": "/usr/bin:/bin"}):
            pass


_AGENT = """
import asyncio, sys
from pathlib import Path
from tests.support.sandbox import run_in, started, zone_of
from jobs.sandbox.api import TaskSpec

async def main(blobs, state, kind, builder):
    async with started(Path(blobs), Path(state), kind, builder) as sandbox, zone_of(sandbox) as zone:
        command = "trap '' TERM HUP; (setsid sleep 3600 &); echo up; sleep 3600"
        await zone.run(TaskSpec(command, {"PATH": "/usr/bin:/bin"}, 3600.0, 1, 2))

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize(("kind", "builder"), [*((kind, "bubblewrap") for kind in FORK_SERVERS), ("c", "oci")])
async def test_s4_zones_die_with_their_agent(tmp_path: Path, sandbox_state: Path, kind: str, builder: str) -> None:
    """kill -9 of the agent: the pipe that every process of the task holds comes to its end."""
    if builder_choice(builder).find() is None:
        pytest.skip("there is no runc on this machine")
    agent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _AGENT, str(tmp_path / "blobs"), str(sandbox_state), kind, builder),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert agent.stdout is not None
    assert await agent.stdout.readline() == b"up\n"
    agent.kill()
    assert await agent.stdout.read() == b""
    await agent.wait()


async def test_s4_a_killed_zone_is_noticed(workshop: Workshop) -> None:
    async with zone_of(workshop.sandbox, name="doomed") as zone:
        ours, theirs = os.pipe()
        running = asyncio.create_task(
            zone.run(TaskSpec("echo up; sleep 60", {"PATH": "/usr/bin"}, 60.0, theirs, theirs))
        )
        assert await asyncio.to_thread(os.read, ours, 10) == b"up\n"
        assert isinstance(zone, ForkServerZone)
        os.kill(zone.pid, 9)
        with pytest.raises(SandboxUnavailable, match="doomed"):
            await running
        os.close(theirs)
        assert await asyncio.to_thread(os.read, ours, 10) == b"", "a process of the zone still holds the pipe"
        os.close(ours)
        with pytest.raises(SandboxUnavailable):
            await run_in(zone, "true")


@pytest.mark.parametrize("several", [False, True])
async def test_s4_a_zone_that_dies_while_an_input_is_mounted_is_noticed(
    workshop: Workshop, several: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its task would hold a lane for ever: not even its timeout would end it."""
    mount = workshop.sandbox._broker.mount
    one = TaskInput(workshop.blob, "x")
    async with zone_of(workshop.sandbox, name="doomed") as zone:
        assert isinstance(zone, ForkServerZone)

        async def slow(blob: str) -> int:
            os.kill(zone.pid, 9)
            await eventually(lambda: zone._broken)
            return await mount(blob)

        monkeypatch.setattr(zone, "_mount", slow)
        with pytest.raises(SandboxUnavailable, match="doomed"):
            async with asyncio.timeout(10):
                await (run_in(zone, "cat", inputs=(one,)) if several else run_in(zone, "cat", blob=one.blob))


async def test_s4_a_dead_broker_is_noticed_and_replaced(workshop: Workshop) -> None:
    broker = workshop.sandbox._broker
    assert broker.pid is not None
    os.kill(broker.pid, 9)
    with pytest.raises(SandboxUnavailable, match="broker died"):
        await workshop.run_on_blob("wc -l")
    assert (await workshop.run_on_blob("wc -l")).out == "2\n"


async def test_the_broker_is_asked_for_no_more_than_it_takes(workshop: Workshop) -> None:
    """As when many lanes bring a batch's inputs at the same time."""
    broker = workshop.sandbox._broker
    pid = broker.pid
    found = await asyncio.gather(*(broker.mount(workshop.blob) for _ in range(700)), return_exceptions=True)
    for mount in found:
        if isinstance(mount, int):
            os.close(mount)
    assert [type(one) for one in found] == [int] * len(found)
    assert broker.pid == pid


async def test_a_mount_that_nobody_waits_for_any_more_is_closed(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = workshop.sandbox._broker
    settle = broker._settle
    before = len(list(Path("/proc/self/fd").iterdir()))
    asking = asyncio.create_task(broker.mount(workshop.blob))

    def given_up(code: int, descriptors: list[int]) -> None:
        settle(code, descriptors)
        asking.cancel()

    monkeypatch.setattr(broker, "_settle", given_up)
    await asyncio.wait([asking])
    assert asking.cancelled()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


async def test_s4_a_missing_blob_is_named(workshop: Workshop) -> None:
    with pytest.raises(NoSuchBlob):
        await workshop.run("true", blob="ab/cd/none", input_name="x")
    assert (await workshop.run_on_blob("wc -l")).out == "2\n"


async def test_s4_what_cannot_be_handed_over_is_refused(workshop: Workshop) -> None:
    with pytest.raises(InvalidArgument, match="NUL"):
        await workshop.run("echo a\0b")
    with pytest.raises(InvalidArgument, match="exceed"):
        await workshop.run("true", env={"X": "x" * (1 << 20)})
    with pytest.raises(InvalidArgument, match="variables"):
        await workshop.run("true", env={f"X{number}": "" for number in range(ENVIRONMENT_MAX + 1)})
    assert (await workshop.run("echo fine")).out == "fine\n"


async def test_s4_assets_can_be_run_and_not_changed(workshop: Workshop) -> None:
    """Also where the node's folders are closed to the zone's user; nothing else of the shared folder is seen."""
    shared = workshop.state / "shared"
    shared.mkdir(parents=True, exist_ok=True)
    shared.chmod(0o711)
    shared.parent.chmod(0o700)
    script, other = shared / "script", shared / "other"
    for file in (script, other):
        file.write_bytes(b"#!/bin/sh\necho ran $1\n")
        file.chmod(0o555)
    path = "/assets/tools/a b/sc\nript.sh"
    spec = replace(ZONE, assets={path: str(script)})
    zone = await workshop.sandbox.open_zone(spec)
    try:
        ended = await run_in(zone, '"$ASSET" it && cat "$ASSET"', env={"ASSET": path})
        assert ended.out == "ran it\n" + script.read_text()
        attack = """
            for command in 'rm -f "$ASSET"' 'echo x > "$ASSET"' 'chmod u+w "$ASSET"' 'mv "$ASSET" /scratch/x' \
                'touch /assets/new' 'ln -s x "$ASSET.2"' 'mount -o remount,rw "$ASSET"'; do
                eval "$command" 2>/dev/null && echo "done: $command"
            done
            find /assets -type f | wc -l; ls -d /run/manta-stage 2>&1 | grep -c 'No such'; grep -c other /proc/mounts
        """
        ended = await run_in(zone, attack, env={"ASSET": path})
        assert ended.out.split() == ["2", "1", "0"], ended.out  # a newline in a name counts twice
    finally:
        await zone.close()
    assert script.read_bytes() == other.read_bytes()
    assert script.stat().st_mode & 0o777 == 0o555
