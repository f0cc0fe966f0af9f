"""What users run works under the system call filters: nothing that a real program needs is missing from the list."""

import shutil
from pathlib import Path

import pytest

from jobs.programs.install import links, programs, python_programs
from jobs.sandbox.driver import NamespaceSandbox
from manta.core.limits import GIB
from tests.support.sandbox import ZONE, run_in, started, zone_of

_POOL = """
import concurrent.futures as futures, multiprocessing as processes, os, queue, subprocess, tempfile, threading
def square(number): return number * number
if __name__ == "__main__":
    with processes.Pool(3) as pool:
        print(sum(pool.map(square, range(100))))
    for method in ("spawn", "forkserver"):
        with processes.get_context(method).Pool(2) as pool:
            print(sum(pool.map(square, range(100))))
    with futures.ThreadPoolExecutor(8) as pool:
        print(sum(pool.map(square, range(100))))
    shared, channel = processes.Value("i", 0), processes.Queue()
    def add():
        with shared.get_lock():
            shared.value += 1
        channel.put(1)
    workers = [processes.Process(target=add) for _ in range(4)]
    [worker.start() for worker in workers]
    print(sum(channel.get() for _ in workers), [worker.join() for worker in workers] and shared.value)
    from multiprocessing.shared_memory import SharedMemory
    block = SharedMemory(create=True, size=4096)
    block.buf[:2] = b"ok"
    other = SharedMemory(block.name)
    print(bytes(other.buf[:2]).decode())
    other.close(); block.close(); block.unlink()
    done = subprocess.run(["sh", "-c", "echo sub; exit 3"], capture_output=True, text=True)
    print(done.stdout.strip(), done.returncode)
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 100000)
"""
_ASYNC = """
import asyncio, sqlite3
async def main():
    async def echo(reader, writer):
        writer.write(await reader.readline()); await writer.drain(); writer.close()
    server = await asyncio.start_unix_server(echo, "socket")
    reader, writer = await asyncio.open_unix_connection("socket")
    writer.write(b"hello\\n")
    print((await reader.readline()).decode(), end="")
    process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    print((await process.communicate(b"through cat\\n"))[0].decode(), end="")
    writer.close(); server.close()
asyncio.run(main())
catalog = sqlite3.connect("db")
print(catalog.execute("pragma journal_mode=wal").fetchone()[0], end=" ")
catalog.execute("create table t(a)"); catalog.execute("insert into t values (1)"); catalog.commit()
print(catalog.execute("select * from t").fetchall())
"""
_C = r"""
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
static void *run(void *argument) { return argument; }
int main(void) {
    pthread_t thread;
    void *result;
    pthread_create(&thread, NULL, run, "thread");
    pthread_join(thread, &result);
    if (fork() == 0) _exit(7);
    int status;
    wait(&status);
    printf("%s %d\n", (char *)result, WEXITSTATUS(status));
}
"""
_SCRIPTS = {
    "bash": r"""
set -o pipefail
a=(1 2 3); echo ${#a[@]} <(:) | wc -w
sleep 60 & kill %1; wait $!; echo $?
""",
    "stat": r"""
mkdir d; seq 5 > d/a; cp -a d/a b; ln -s b c; mv b e; ln e f; touch -d 2020-01-01 e; stat -c %Y.%h e
du -s d > u; df . > u
nice -n 5 timeout 5 true; tac e | head -1; shuf -n 1 e | wc -l; split -l 2 e p; cat p?? | md5sum | cut -c-8
truncate -s 9 t; dd if=t of=u bs=3 2>&1 | tail -1 | cut -c-7; sync e; tee g < e | tail -n1; nproc > u; flock g true
rm -r d; timeout 0.1 sleep 60; echo $?
""",
    "sort": "seq 100000 | shuf | sort -n --parallel=4 -S 8M -T . | cmp - <(seq 100000) && echo sorted",
    "awk": r"""
seq 10 | awk '{s+=$1} END {print s; "date +%Y" | getline y; print (y>2000); fflush(); system("echo sys")}'
""",
    "perl": r"""
perl -MPOSIX -MFile::Temp -e 'my $p = fork; if (!$p) { exit 3 } waitpid $p, 0; print $? >> 8, " ";
open(my $f, "-|", "echo hi"); print <$f>; my $t = File::Temp->new; print $t "x"; print getpid() > 0, "\n"'
""",
    "find": r"""
seq 20 > a; sed 's/1/x/' a > b; sed -i s/2/y/ b; grep -c x b
find . -type f -newermt 2000-01-01 | sort | xargs -P4 -n1 wc -l | wc -l; diff a b | grep -c '^>'
""",
    "tar": r"""
mkdir d o; seq 1000 > d/a; mkfifo d/p; ln d/a d/h; ln -s a d/s
tar czf d.tgz d; tar xzf d.tgz -C o; tar tf d.tgz | wc -l; cmp d/a o/d/a && stat -c %F o/d/p; gzip -k d.tgz
""",
    "sqlite3": r"""
sqlite3 db 'pragma journal_mode=wal; create table t(a); insert into t values (1),(2); select sum(a) from t'
sqlite3 db 'select count(*) from t'
""",
    "git": r"""
git init -q r && cd r && git config user.email a@b && git config user.name n && seq 9 > f
git add f && git commit -qm m
git clone -q . ../c && git gc -q && git log --oneline | wc -l; cat ../c/f | wc -l
""",
    "gcc": 'printf %s "$SOURCE" > a.c; gcc -O1 -pthread a.c -o a && ./a',
    "make": r"""printf 'all: a b c\n%%:\n\t@echo $@ > $@\n' > Makefile; make -s -j3; cat a b c""",
    "python3": 'printf %s "$SOURCE" > pool.py; python3 pool.py; python3 -c "$OTHER"',
    "setarch": "setarch -R echo personality",
    "node": r"""node -e 'new (require("worker_threads").Worker)("console.log(1+1)", {eval: true})'""",
    "java": "java -version 2>&1 | grep -ci version > f; echo $?",
    "jq": "echo '{\"a\": 1}' | jq .a",
    "openssl": "echo a | openssl dgst -sha256 | wc -l",
}
_SAID = {
    "bash": "2\n143\n",
    "stat": "1577836800.2\n5\n1\na7b1ac3a\n9 bytes\n5\n124\n",
    "sort": "sorted\n",
    "awk": "55\n1\nsys\n",
    "perl": "3 hi\n1\n",
    "find": "11\n2\n13\n",
    "tar": "5\nfifo\n",
    "sqlite3": "wal\n3\n2\n",
    "git": "1\n9\n",
    "gcc": "thread 7\n",
    "make": "a\nb\nc\n",
    "python3": "328350\n" * 4 + "4 4\nok\nsub 3\nhello\nthrough cat\nwal [(1,)]\n",
    "setarch": "personality\n",
    "node": "2\n",
    "java": "0\n",
    "jq": "1\n",
    "openssl": "1\n",
}


@pytest.mark.parametrize("language", ["c", "python"])
async def test_the_stores_own_programs_run(language: str, tmp_path: Path, sandbox_state: Path) -> None:
    files = programs(tmp_path) if language == "c" else python_programs()
    blobs = tmp_path / "blobs"
    blobs.mkdir(mode=0o700)
    sandbox = NamespaceSandbox(blobs, sandbox_state, programs=files, links=links())
    await sandbox.start()
    try:
        zone = await sandbox.open_zone(ZONE)
        ended = await run_in(zone, "export PATH=/manta/bin:$PATH; printf '1\\n2\\n' | maggr -c 1 sum; mpipe; mcat")
        await zone.close()
    finally:
        await sandbox.close()
    assert (ended.status, ended.out) == (2, "3\n"), ended
    assert ended.err.splitlines()[0].startswith("mpipe: the node's agent cannot be reached: "), "it has no door here"
    assert ended.err.splitlines()[1] == "mcat: at least one KEY is needed"


@pytest.mark.parametrize("program", _SCRIPTS)
async def test_real_programs_run(program: str, tmp_path: Path, sandbox_state: Path) -> None:
    if shutil.which(program, path="/usr/local/bin:/usr/bin:/bin") is None:
        pytest.skip(f"{program} is not installed on this machine")
    sources = {"SOURCE": _C if program == "gcc" else _POOL, "OTHER": _ASYNC, "HOME": "/scratch"}
    async with (
        started(tmp_path / "blobs", sandbox_state, "c") as sandbox,
        zone_of(sandbox, memory_bytes=GIB, scratch_bytes=GIB // 4) as zone,
    ):
        ended = await run_in(zone, _SCRIPTS[program], env=sources)
    assert (ended.status, ended.out) == (0, _SAID[program]), ended
    assert "not implemented" not in ended.err.lower()
    assert "not permitted" not in ended.err.lower()
