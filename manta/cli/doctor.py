"""`manta doctor`: is this machine fit for a store, and is the store here well? Each finding with its remedy."""

import errno
import os
import platform
import re
import shutil
import tempfile
import time
import urllib.error
import urllib.request
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Annotated

import apsw
import typer

from jobs.programs.install import NO_PROGRAMS, kind, programs
from jobs.programs.python_runtime import PythonRuntime, python_runtime
from jobs.sandbox import Finding, probe
from jobs.sandbox.building.builders import BuilderChoice, builder_choice
from manta.cli import output
from manta.cli.exit_codes import FAILED
from manta.core.config import NodeConfig, load
from manta.core.errors import MantaError
from manta.core.limits import CLOCK_SKEW_S, RESERVE_FRACTION, RESERVE_MIN_BYTES
from manta.sdk import find_session

_CLOCK_WARN_S = 60.0
_SYNCFS_KERNEL = (5, 8)
"""Before it, syncfs succeeds although a write-back has failed: https://man7.org/linux/man-pages/man2/sync.2.html"""


def doctor(
    data: Annotated[Path, typer.Option(help="The store's data folder.", readable=False)] = Path("manta-data"),
    sandbox: Annotated[str | None, typer.Option(help="bubblewrap or oci; else as the store here has it.")] = None,
    runtime: Annotated[str | None, typer.Option(help="The OCI runtime, by path or name. Default runc.")] = None,
    json: Annotated[bool, typer.Option("--json", help="JSON lines.")] = False,
) -> None:
    """Check sandbox, disk, catalog and clock. Exit code 1 if something needed is missing."""
    findings = [
        *probe(_builder(data, sandbox, runtime)),
        task_programs(),
        python_functions(python_runtime()),
        *_disk(data),
        *(_catalog(data) if _is_readable(data) else []),
        syncfs_errors(platform.release()),
        *_running_store(),
    ]
    for finding in findings:
        if json:
            output.json_line({"what": finding.what, "ok": finding.ok, "seen": finding.seen, "remedy": _remedy(finding)})
        else:
            _print(finding)
    if any(finding.required and not finding.ok for finding in findings):
        raise typer.Exit(FAILED)


def _builder(data: Path, sandbox: str | None, runtime: str | None) -> BuilderChoice:
    """As asked for, else as the nodes here were last started, if that may be read."""
    if sandbox is None and runtime is None and _is_readable(data):
        for file in sorted((data / "config").glob("node-*.json")):
            if not os.access(file, os.R_OK, effective_ids=True):
                continue
            config = load(file, NodeConfig, supervised=True)
            return builder_choice(config.sandbox, config.runtime)
    return builder_choice(sandbox or ("oci" if runtime else "bubblewrap"), runtime)


def _remedy(finding: Finding) -> str:
    return "" if finding.ok else finding.remedy


def _print(finding: Finding) -> None:
    mark = "ok  " if finding.ok else "FAIL" if finding.required else "note"
    output.line(f"{mark}  {finding.what}: {finding.seen}")
    if not finding.ok and finding.remedy:
        output.line(f"      {finding.remedy}")


def task_programs() -> Finding:
    """Makes them as a node does: a compiler alone does not say that it finds its library."""
    with tempfile.TemporaryDirectory(prefix="manta-doctor-") as folder:
        language = kind(programs(Path(folder)))
    seen = f"in {language}" if language else "none"
    return Finding("programs of tasks (mpipe, mcat …)", bool(language), seen, NO_PROGRAMS, required=False)


def python_functions(runtime: PythonRuntime) -> Finding:
    """Which Python runs functions in tasks, and whether they find libraries."""
    remedy = "Functions find no libraries here: install manta where other users may read it, so not below /root."
    seen = f"Python {runtime.version}, {'with' if runtime.sites else 'without'} the libraries of this environment"
    return Finding("Python functions", bool(runtime.sites), seen, remedy, required=False)


def _folder(data: Path) -> Path:
    """Where the volumes lie or will lie."""
    folders = (data.absolute(), *data.absolute().parents)
    return next(path for path in folders if os.path.exists(path))  # noqa: PTH110 - Path's raises what may not be seen


def _is_readable(data: Path) -> bool:
    return os.access(_folder(data), os.R_OK | os.X_OK, effective_ids=True)


def _closed(folder: Path) -> list[Finding]:
    """A finding if nothing can be written there."""
    if not folder.is_dir():
        return [Finding("data folder", False, f"{folder} is no folder", "Name a folder by --data.")]
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        remedy = "The kernel's log says why, if it was an error: mend that, and mount the file system for writing."
        return [Finding("data folder", False, f"{folder} lies on a file system that is mounted read-only", remedy)]
    if os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        return []
    seen = f"{folder} is not writable for this user (number {os.geteuid()})"
    owner = f"the user it belongs to (number {folder.stat().st_uid})"
    remedy = f"Run the store and its doctor as {owner}, make it writable for this one, or name another by --data."
    return [Finding("data folder", False, seen, remedy)]


def _disk(data: Path) -> list[Finding]:
    folder = _folder(data)
    usage = shutil.disk_usage(folder)
    reserve = max(int(usage.total * RESERVE_FRACTION), RESERVE_MIN_BYTES)
    return [
        Finding(
            "free space",
            usage.free > reserve,
            f"{output.size_text(usage.free)} of {output.size_text(usage.total)} at {folder}",
            f"Nodes refuse writes below {output.size_text(reserve)}: free space or use another disk.",
        ),
        *(_closed(folder) or [_extended_attributes(folder), _sync_time(folder)]),
    ]


def _extended_attributes(folder: Path) -> Finding:
    remedy = "Use ext4, XFS or btrfs for the data folder: checksums of small objects are kept in extended attributes."
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".manta-doctor-") as file:
            os.setxattr(file.fileno(), "user.manta", b"x" * 64)
    except OSError as error:
        return Finding("extended attributes", False, errno.errorcode.get(error.errno or 0, str(error)), remedy)
    return Finding("extended attributes", True, "kept")


def _sync_time(folder: Path) -> Finding:
    """Median of a few small fsyncs. It is a note, since a slow disk is still a correct one."""
    times = []
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".manta-doctor-") as file:
            for _ in range(9):
                started = time.perf_counter()
                file.write(b"x" * 4096)
                file.flush()
                os.fsync(file.fileno())
                times.append((time.perf_counter() - started) * 1000)
    except OSError as error:
        return Finding("fsync", False, str(error), "The data folder must be writable and honour fsync.")
    median_ms = sorted(times)[len(times) // 2]
    remedy = "Each PUT waits for syncs: a disk with a power-safe cache makes them faster."
    return Finding("fsync", median_ms < 50, f"{median_ms:.1f} ms", remedy, required=False)


def syncfs_errors(release: str) -> Finding:
    """Whether `syncfs`, by which nodes sync small objects behind their journal, says when a write failed."""
    version = tuple(int(number) for number in re.findall(r"\d+", release)[:2])
    remedy = "Start the store with --no-journal: each small object is then synced by itself, errors included."
    return Finding("syncfs reports errors", version >= _SYNCFS_KERNEL, f"kernel {release}", remedy, required=False)


def _catalog(data: Path) -> list[Finding]:
    """SQLite's own check of the embedded catalog, read-only, also while the store runs."""
    path = data / "catalog.db"
    if not path.exists():
        return []
    remedy = "Stop the store and restore the last backup: see docs/operations.md."
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            answer = " ".join(str(next(iter(connection.execute("PRAGMA quick_check(1)")))[0]).splitlines())
        finally:
            connection.close()
    except (apsw.CorruptError, apsw.NotADBError) as error:
        answer = str(error)
    except apsw.Error as error:  # also a sound one needs files beside it, which this user or disk may not allow
        remedy = "Run the doctor as the user that the store runs as, where the folder can be written."
        return [Finding("catalog", False, f"not checked: {error}", remedy, required=False)]
    return [Finding("catalog", answer == "ok", answer, remedy)]


def _running_store() -> list[Finding]:
    """Whether the store that commands would talk to answers, and agrees with this clock."""
    try:
        url = find_session().url
    except MantaError:
        return []
    remedy = "Start it with `manta serve`, or set MANTA_URL to one that runs."
    asked_s = time.time()
    try:
        with urllib.request.urlopen(f"{url}/_manta/ready", timeout=5) as answer:  # noqa: S310 - find_session allows http(s) only
            date = answer.headers["Date"]
    except (OSError, urllib.error.URLError) as error:
        return [Finding("running store", False, f"{url} does not answer ({error})", remedy, required=False)]
    findings = [Finding("running store", True, url)]
    if date:
        findings.append(clock(parsedate_to_datetime(date).timestamp(), asked_s, time.time()))
    return findings


def clock(told_s: float, asked_s: float, answered_s: float) -> Finding:
    """The least that the clocks differ by: the store's second is all it tells, and it was told at some time between
    the question and the answer."""
    skew_s = max(0.0, asked_s - (told_s + 1), told_s - answered_s)
    seen = "agrees with the store's" if skew_s < 1 else f"{skew_s:.0f} s apart from the store's"
    remedy = f"Signatures are refused from {CLOCK_SKEW_S // 60} minutes on: synchronise the clocks."
    return Finding("clock", skew_s < _CLOCK_WARN_S, seen, remedy)
