"""Control groups where the machine's own trees do not matter: what is found, who owns a group, what is written."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.sandbox import bounds
from jobs.sandbox.api import ZoneSpec
from jobs.sandbox.cgroups.discovery import CONTROLLERS, SETTLED, Place, Survey, base_folder, own_places, survey
from jobs.sandbox.cgroups.pool import DIALECTS
from jobs.sandbox.cgroups.tree import Counter, GroupLimits, remove_tree
from manta.core.limits import GIB, MIB, TASK_PIDS_MAX, ZONE_OVERHEAD_BYTES
from manta.core.owner import Owner

V1_MOUNTS = """\
30 20 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory
32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
33 30 0:29 / /sys/fs/cgroup/pids rw,nosuid - cgroup cgroup rw,pids
34 30 0:30 / /sys/fs/cgroup/systemd rw,nosuid - cgroup cgroup rw,xattr,name=systemd
"""
V2_MOUNTS = "30 20 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


def test_v1_trees_are_found_below_the_own_group() -> None:
    text = "9:name=systemd:/\n4:memory:/jobs/a b\n2:cpu,cpuacct:/\n1:pids:/x\n"
    assert own_places(text, V1_MOUNTS) == [
        Place(1, Path("/sys/fs/cgroup/systemd"), frozenset({"name=systemd"})),
        Place(1, Path("/sys/fs/cgroup/memory/jobs/a b"), frozenset({"memory"})),
        Place(1, Path("/sys/fs/cgroup/cpu,cpuacct"), frozenset({"cpu", "cpuacct"})),
        Place(1, Path("/sys/fs/cgroup/pids/x"), frozenset({"pids"})),
    ]


def test_the_v2_tree_is_found_alone_and_beside_v1() -> None:
    alone = own_places("0::/user.slice/run-1.scope\n", V2_MOUNTS)
    assert alone == [Place(2, Path("/sys/fs/cgroup/user.slice/run-1.scope"), frozenset())]
    hybrid = V1_MOUNTS + "40 30 0:40 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    assert own_places("0::/\n4:memory:/m\n", hybrid) == [
        Place(1, Path("/sys/fs/cgroup/memory/m"), frozenset({"memory"})),
        Place(2, Path("/sys/fs/cgroup/unified"), frozenset()),
    ]


@pytest.mark.parametrize(
    ("root", "path", "found"),
    [
        ("/docker/c1", "/docker/c1", "/sys/fs/cgroup/memory"),  # a container without a cgroup namespace
        ("/docker/c1", "/docker/c1/x", "/sys/fs/cgroup/memory/x"),
        ("/docker/c1", "/docker/c10", None),
        ("/docker/c1", "/", None),
        ("/", "/../outside", None),  # outside of the cgroup namespace
    ],
)
def test_only_what_lies_below_the_mount_is_found(root: str, path: str, found: str | None) -> None:
    mounts = f"31 30 0:27 {root} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    assert [str(place.folder) for place in own_places(f"4:memory:{path}\n", mounts)] == ([found] if found else [])


def test_escaped_mount_points_are_read() -> None:
    mounts = "31 30 0:27 / /a\\040b rw - cgroup cgroup rw,memory\n"
    assert own_places("4:memory:/\n", mounts)[0].folder == Path("/a b")


def test_without_any_tree_every_controller_is_missing_with_a_reason() -> None:
    found = survey("", "")
    assert found.places == ()
    assert found.missing == dict.fromkeys(CONTROLLERS, "no cgroup tree has it")
    words = bounds.means(found)
    assert words["memory"] == (
        "RLIMIT_DATA and RLIMIT_AS, per process; not the sum of a task's processes (no cgroup tree has it)"
    )
    assert words["cpu"] == "none (no cgroup tree has it)"


def test_a_folder_without_rights_is_named(tmp_path: Path) -> None:
    mounts = f"31 30 0:27 / {tmp_path} rw - cgroup cgroup rw,memory\n"
    found = survey("4:memory:/absent\n", mounts)
    assert found.missing["memory"] == f"no right to make groups in {tmp_path}/absent: No such file or directory"


def test_groups_go_beside_the_leaf_that_processes_moved_into() -> None:
    assert base_folder(Place(2, Path("/c/unit"), frozenset())) == Path("/c/unit")
    assert base_folder(Place(2, Path(f"/c/unit/{SETTLED}"), frozenset())) == Path("/c/unit")


@given(st.from_regex(r"[0-9a-f]{12}", fullmatch=True), *[st.integers(0, 2**40)] * 3, st.integers(0, 1000))
def test_a_folders_name_tells_its_owner(tag: str, namespace: int, pid: int, started: int, number: int) -> None:
    owner = Owner(tag, namespace, pid, started)
    assert Owner.of(owner.name(number)) == owner


@given(st.text())
def test_foreign_names_have_no_owner(name: str) -> None:
    assert Owner.of(name) is None
    assert Owner.of(f"manta.{name}") is None or name.count(".") == 4


def test_only_the_dead_are_dead() -> None:
    own = Owner.own("0123456789ab")
    assert not own.is_dead(own)
    assert own.is_dead(Owner(own.tag, own.namespace, own.pid, own.started + 1))  # the pid was given out again
    assert own.is_dead(Owner("other", own.namespace, 2**22 + 1, 1))
    assert own.is_dead(Owner(own.tag, own.namespace + 1, own.pid, own.started))  # this node, in its last container
    assert not own.is_dead(Owner("other", own.namespace + 1, 1, 1))


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("12345\n", "", 12345),
        ("oom_kill_disable 0\nunder_oom 1\noom_kill 7\n", "oom_kill", 7),
        ("low 1\noom_group_kill 3\nmax 2\noom 4\noom_kill 5\n", "oom_kill", 5),
        ("max 9\n", "max", 9),
        ("usage_usec 17\nuser_usec 3\n", "usage_usec", 17),
        ("nothing 1\n", "oom_kill", 0),
    ],
)
def test_counters_are_read_by_their_key(text: str, key: str, value: int, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("0\n" if not key else f"{key} 0\n")
    counter = Counter(file, key)
    file.write_text(text)
    assert counter.grown() == value
    assert counter.take() == value
    assert counter.grown() == 0
    counter.close()


def _files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).touch()


def test_v1_writes_swap_around_memory(tmp_path: Path) -> None:
    _files(tmp_path, "memory.limit_in_bytes", "cpu.cfs_period_us", "cpu.cfs_quota_us", "pids.max")
    dialect = DIALECTS[1]
    dialect.limit_memory(tmp_path, 5 * MIB, leaf=True)
    dialect.limit_pids(tmp_path, [], 10)
    dialect.limit_cpus(tmp_path, 1.5)
    _files(tmp_path, "cpu.shares")
    dialect.weigh(tmp_path, 4)
    assert (tmp_path / "cpu.shares").read_text() == "4096"
    assert not (tmp_path / "memory.memsw.limit_in_bytes").exists()
    assert (tmp_path / "memory.limit_in_bytes").read_text() == str(5 * MIB)
    assert (tmp_path / "cpu.cfs_quota_us").read_text() == "150000"
    assert (tmp_path / "pids.max").read_text() == "12"
    _files(tmp_path, "memory.memsw.limit_in_bytes")
    dialect.limit_memory(tmp_path, 6 * MIB, leaf=True)
    assert (tmp_path / "memory.memsw.limit_in_bytes").read_text().endswith(str(6 * MIB))


def test_v2_writes_leaves_and_zone(tmp_path: Path) -> None:
    leaf = tmp_path / "task"
    leaf.mkdir()
    _files(tmp_path, "memory.max", "pids.max", "cpu.max", "cgroup.subtree_control")
    _files(leaf, "memory.max", "memory.swap.max", "memory.oom.group", "pids.max")
    dialect = DIALECTS[2]
    dialect.limit_memory(tmp_path, 70 * MIB, leaf=False)
    dialect.limit_memory(leaf, 5 * MIB, leaf=True)
    dialect.limit_pids(tmp_path, [leaf], 10)
    dialect.limit_cpus(tmp_path, 0.5)
    _files(tmp_path, "cpu.weight")
    dialect.weigh(tmp_path, 200)
    assert (tmp_path / "cpu.weight").read_text() == "10000"
    dialect.hand_down(tmp_path, frozenset({"pids", "memory"}))
    written = {path.name: path.read_text() for path in leaf.iterdir()}
    assert written == {
        "memory.max": str(5 * MIB),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": "11",
    }
    assert (tmp_path / "cpu.max").read_text() == "50000 100000"
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+memory +pids"


def test_a_tree_of_groups_goes_from_the_leaves_up(tmp_path: Path) -> None:
    (tmp_path / "groups" / "zone" / "task").mkdir(parents=True)
    remove_tree(tmp_path / "groups")
    assert list(tmp_path.iterdir()) == []
    remove_tree(tmp_path / "groups")


SIZES = st.integers(4 * MIB, 64 * GIB)


@given(SIZES, SIZES)
def test_scratch_is_full_before_memory_is(memory_bytes: int, scratch_bytes: int) -> None:
    """Its pages, and an inode of 1 KiB for each file, leave an eighth of the memory to the programs."""
    limits = bounds.limits_of(ZoneSpec("z", "t", memory_bytes, scratch_bytes), {"memory", "pids"})
    assert limits.scratch <= scratch_bytes
    assert limits.scratch + 1024 * limits.scratch_inodes <= memory_bytes * 7 // 8
    assert limits.processes > TASK_PIDS_MAX


@given(SIZES, SIZES)
def test_without_groups_rlimits_hold(memory_bytes: int, scratch_bytes: int) -> None:
    limits = bounds.limits_of(ZoneSpec("z", "t", memory_bytes, scratch_bytes))
    assert (limits.scratch, limits.data, limits.processes) == (scratch_bytes, memory_bytes, TASK_PIDS_MAX)
    assert limits.address >= 4 * memory_bytes


@given(SIZES, SIZES, st.booleans())
def test_the_zones_limit_lies_above_its_leaves(memory_bytes: int, scratch_bytes: int, has_init: bool) -> None:
    spec = ZoneSpec("z", "t", memory_bytes, scratch_bytes, init="true" if has_init else None)
    limits = bounds.group_limits_of(spec, {"memory"})
    assert isinstance(limits, GroupLimits)
    assert limits.zone_bytes >= limits.memory_bytes + limits.init_memory_bytes + ZONE_OVERHEAD_BYTES
    assert (limits.init_memory_bytes > memory_bytes) is has_init


def test_a_controller_is_told_with_its_version() -> None:
    places = (Place(1, Path("/m"), frozenset({"memory"})), Place(2, Path("/u"), frozenset({"cpu"})))
    found = Survey(places, {"pids": "x", "cpuacct": "y"})
    words = bounds.means(found)
    assert words["memory"].startswith("cgroup v1:")
    assert words["cpu"].startswith("cgroup v2:")
    assert words["processes"].endswith("(x)")
