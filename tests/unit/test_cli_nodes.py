"""A node in one line: what it has, and what it refuses."""

from typing import Any

import pytest

from manta.cli.nodes import node_line

STATUS = {"total_bytes": 2 << 30, "free_bytes": 1 << 30, "writable": True, "reason": "", "blobs_quarantined": 0}
AGENT = {"lanes": 4, "running": 1, "refusing": ""}


@pytest.mark.parametrize(
    ("alive", "status", "line"),
    [
        (True, STATUS | {"agent": AGENT}, "n1            alive   1.0 GiB of 2.0 GiB free  1 of 4 lanes busy  unix:/n"),
        (True, STATUS | {"agent": {}}, "n1            alive   1.0 GiB of 2.0 GiB free  unix:/n"),
        (False, STATUS | {"agent": AGENT}, "n1            silent  unix:/n"),
        (False, None, "n1            silent  unix:/n"),
        (
            True,
            STATUS
            | {"writable": False, "reason": "fsync", "blobs_quarantined": 2}
            | {"agent": AGENT | {"refusing": "No bwrap.", "no_programs": ""}},
            "n1            alive   1.0 GiB of 2.0 GiB free  1 of 4 lanes busy  NO WRITES: fsync  NO TASKS: No bwrap."
            "  2 in quarantine  unix:/n",
        ),
        (
            True,
            STATUS | {"agent": AGENT | {"no_programs": "No compiler."}},
            "n1            alive   1.0 GiB of 2.0 GiB free  1 of 4 lanes busy  NO PROGRAMS: No compiler.  unix:/n",
        ),
    ],
)
def test_what_a_node_refuses_stands_there(alive: bool, status: dict[str, Any] | None, line: str) -> None:
    assert node_line({"id": "n1", "url": "unix:/n", "alive": alive, "status": status}) == line
