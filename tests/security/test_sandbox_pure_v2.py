"""Control groups on a kernel that has cgroup v2 alone: user-mode Linux, booted on this machine's files, read-only."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_LINUX = shutil.which("linux.uml")
_CHOSEN = (
    "oom or together or serve_one_zone or no_group_is_left or killed_node or not_in_its_tasks_group or init_leaves"
)
_LAUNCH = "import os, sys; from jobs.sandbox.cgroups import settle; settle(); os.execv(sys.executable, sys.argv[1:])"
_INIT = """#!/bin/sh
export PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin HOME=/run PYTHONDONTWRITEBYTECODE=1 TMPDIR=/run
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs tmp /run; mount -t cgroup2 cgroup /sys/fs/cgroup
ip link set lo up
cd {checkout}
mkdir /sys/fs/cgroup/unit
echo "+memory +pids +cpu" > /sys/fs/cgroup/cgroup.subtree_control
(
    echo 0 > /sys/fs/cgroup/unit/cgroup.procs
    exec {python} -c '{launch}' {python} -m pytest -q -p no:cacheprovider --color=no --tb=short --timeout=600 \
        --basetemp=/run/tests tests/security/test_sandbox_groups.py -k 'not python and ({chosen})'
)
echo "ended with $?"
echo "groups left:" $(find /sys/fs/cgroup/unit -mindepth 1 -type d)
echo o > /proc/sysrq-trigger
sleep 60
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.invariant("S5")
@pytest.mark.skipif(_LINUX is None, reason="user-mode Linux (package `user-mode-linux`) is not installed")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may read all of this machine's files for its guest")
def test_s5_limits_hold_under_cgroup_v2_alone(tmp_path: Path) -> None:
    init = tmp_path / "init"
    checkout = Path(__file__).parents[2]
    init.write_text(_INIT.format(checkout=checkout, python=sys.executable, launch=_LAUNCH, chosen=_CHOSEN))
    init.chmod(0o755)
    command = [str(_LINUX), "mem=1G", "root=/dev/root", "rootfstype=hostfs", "hostfs=/", "ro", f"init={init}"]
    done = subprocess.run(
        [*command, "con=null", "con0=null,fd:1", "quiet"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, "TMPDIR": str(tmp_path)},
        check=False,
    )
    assert "ended with 0" in done.stdout, done.stdout[-6000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
    assert "groups left: /sys/fs/cgroup/unit/manta-processes\n" in done.stdout.replace("\r", "")
