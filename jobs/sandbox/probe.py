"""What the sandbox needs of this machine, each with its remedy: for `manta doctor`, and for the refusal to start."""

import os
import platform
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jobs.sandbox.bounds import means
from jobs.sandbox.building import oci
from jobs.sandbox.building.blueprint import Runtime
from jobs.sandbox.building.builders import BUBBLEWRAP, BuilderChoice
from jobs.sandbox.cgroups import survey
from jobs.sandbox.filters.syscall_numbers import MACHINES
from jobs.sandbox.tenants import UID_BASE
from manta.core.compiled import COMPILERS
from manta.core.errors import SandboxUnavailable

_KERNEL_MIN: Final = (5, 14)
"""mount_setattr came with 5.12; from 5.14 RLIMIT_NPROC counts per user namespace."""
_TRIAL_TIMEOUT_S: Final = 20.0
_TRIAL: Final = ("/usr/bin/env", "true")
_APPARMOR_SWITCH: Final = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
_CLONE_SWITCH: Final = Path("/proc/sys/kernel/unprivileged_userns_clone")
_COUNT_SWITCH: Final = Path("/proc/sys/user/max_user_namespaces")


@dataclass(frozen=True, slots=True)
class Finding:
    """`what` was looked at, whether it is as needed, what was seen, and what to do when it is not."""

    what: str
    ok: bool
    seen: str
    remedy: str = ""
    required: bool = True


def probe(builder: BuilderChoice = BUBBLEWRAP) -> list[Finding]:
    """Every finding, good and bad; takes some 10 ms (an OCI runtime more), since it starts the builder once."""
    findings = [_machine(), _kernel(platform.release()), _seccomp(), _builder_found(builder)]
    if all(finding.ok for finding in findings):
        findings.append(_namespaces() if builder.kind == "bubblewrap" else _container(builder.require()))
    return [*findings, _compiler(), *_groups()]


def refuse_if_missing(findings: list[Finding]) -> None:
    """SandboxUnavailable with the reason and the remedy of the first required finding that failed."""
    for finding in findings:
        if finding.required and not finding.ok:
            raise SandboxUnavailable(f"No sandbox can be built: {finding.what}: {finding.seen}. {finding.remedy}")


def _machine() -> Finding:
    machine = platform.machine()
    remedy = f"Run the node on one of: {', '.join(MACHINES)}."
    return Finding("processor with a system call filter", machine in MACHINES, machine, remedy)


def _kernel(release: str) -> Finding:
    numbers = re.match(r"(\d+)\.(\d+)", release)
    version = (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
    wanted = ".".join(map(str, _KERNEL_MIN))
    return Finding("Linux kernel", version >= _KERNEL_MIN, release, f"Linux {wanted} or later is needed: upgrade it.")


def _seccomp() -> Finding:
    actions = Path("/proc/sys/kernel/seccomp/actions_avail")
    present = actions.exists() and "errno" in actions.read_text()
    remedy = "Use a kernel with CONFIG_SECCOMP_FILTER."
    return Finding("seccomp filters", present, "present" if present else "absent", remedy)


def _builder_found(builder: BuilderChoice) -> Finding:
    path = builder.find()
    return Finding(builder.name, path is not None, path or "not on PATH", builder.remedy)


def _namespaces() -> Finding:
    """Tries what a zone needs, as the user a zone would have."""
    command = [
        BUBBLEWRAP.require(),
        "--unshare-user",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-ipc",
        "--unshare-cgroup",
        "--disable-userns",
    ]
    command += ["--uid", "0", "--gid", "0", "--cap-add", "ALL", "--ro-bind", "/", "/", "--proc", "/proc"]
    return _tried("user namespaces", "bwrap", [*command, "--", *_TRIAL])


def _container(runtime: str) -> Finding:
    """Runs `true` in a container, as the user a zone would have."""
    what = "containers without privileges"
    with tempfile.TemporaryDirectory(prefix="manta-probe-") as folder:
        Path(folder).chmod(0o711)
        try:
            trial = Runtime(runtime, Path(folder))
            uid = _zone_uid()
            bundle = oci.make_bundle(trial, "trial", os.geteuid() if uid is None else uid, [*_TRIAL], oci.Content())
        except OSError as error:
            return Finding(what, False, str(error), _namespace_remedy())
        return _tried(what, runtime, oci.run_command(trial, bundle, []))


def _tried(what: str, program: str, command: list[str]) -> Finding:
    """Whether that command succeeds, run as the user a zone would have."""
    uid = _zone_uid()
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            timeout=_TRIAL_TIMEOUT_S,
            cwd="/",
            user=uid,
            group=uid,
            extra_groups=None if uid is None else (),
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(what, False, str(error), _namespace_remedy())
    said = done.stderr.decode(errors="replace").strip() or f"{program} ended with {done.returncode}"
    return Finding(what, done.returncode == 0, "allowed" if done.returncode == 0 else said, _namespace_remedy())


def _zone_uid() -> int | None:
    """That of a zone, where it is another than ours."""
    return UID_BASE if os.geteuid() == 0 else None


def _namespace_remedy() -> str:
    for switch, bad, good in ((_APPARMOR_SWITCH, "1", "0"), (_CLONE_SWITCH, "0", "1"), (_COUNT_SWITCH, "0", "65536")):
        if switch.exists() and switch.read_text().strip() == bad:
            name = str(switch).removeprefix("/proc/sys/").replace("/", ".")
            return f"Allow user namespaces: sysctl -w {name}={good}."
    return (
        "Allow user namespaces and have bubblewrap 0.8 or later; "
        "in a container, run it with a seccomp profile that permits unshare and mount."
    )


def _compiler() -> Finding:
    path = next(filter(None, map(shutil.which, COMPILERS)), None)
    remedy = "Install `gcc` to have tasks started about twice as fast."
    return Finding("C compiler for the fork server", path is not None, path or "not on PATH", remedy, required=False)


def _groups() -> list[Finding]:
    """As this process may; a node started otherwise, as a service of its own perhaps, may do more or less."""
    found = survey()
    remedy = (
        "Run the node as root, or as a service of its own that may make cgroups (systemd: `Delegate=yes`), "
        "to have it hold for a task as a whole."
    )
    return [
        Finding(f"limit of a task's {limit}", controller in found.holds, means(found)[limit], remedy, required=False)
        for limit, controller in (("memory", "memory"), ("processes", "pids"), ("cpu", "cpu"))
    ]
