"""`manta nodes`: the storage nodes, whether they answer, what they have and what they refuse (root only)."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from manta.cli import output
from manta.sdk import connect


def nodes(json: Annotated[bool, typer.Option("--json", help="JSON lines, with all that a node says.")] = False) -> None:
    """List the storage nodes: whether they answer, their free space, lanes in use, and what they refuse (root only)."""
    with connect() as store:
        found = store.api("GET", "/nodes")
    for node in found["nodes"]:
        output.json_line(node) if json else output.line(node_line(node))
    if not json and found.get("waits_for"):
        output.line(f"NO TASKS: {found['waits_for']}")


def node_line(node: Mapping[str, Any]) -> str:
    """`node-1  alive    10.0 GiB of 20.0 GiB free  1 of 4 lanes busy  http://…`, and what it refuses."""
    return "  ".join([f"{node['id']:<12}  {'alive ' if node['alive'] else 'silent'}", *_words(node), node["url"]])


def _words(node: Mapping[str, Any]) -> list[str]:
    status = node["status"]
    if not node["alive"] or status is None:
        return []
    agent = status["agent"]
    words = [f"{output.size_text(status['free_bytes'])} of {output.size_text(status['total_bytes'])} free"]
    if agent:
        words.append(f"{agent['running']} of {agent['lanes']} lanes busy")
    if not status["writable"]:
        words.append(f"NO WRITES: {status['reason']}")
    if agent.get("refusing"):
        words.append(f"NO TASKS: {agent['refusing']}")
    if agent.get("no_programs"):
        words.append(f"NO PROGRAMS: {agent['no_programs']}")
    if status["blobs_quarantined"]:
        words.append(f"{status['blobs_quarantined']} in quarantine")
    return words
