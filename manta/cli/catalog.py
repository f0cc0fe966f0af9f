"""`manta backup restore restored fsck`: the embedded catalog, kept safe and compared with the volumes."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from manta.catalog.fsck import Finding, Problem, compare, confirm, judge
from manta.catalog.open import open_catalog
from manta.catalog.records import Blob, Gap, Node
from manta.catalog.rules import gap_begin_ms
from manta.catalog.sqlite.backup import backup as write_backup
from manta.catalog.sqlite.backup import restore as read_backup
from manta.catalog.store import Catalog
from manta.cli import output
from manta.cli.exit_codes import FAILED
from manta.core.clock import SystemClock
from manta.core.errors import InvalidArgument, NodeUnavailable
from manta.core.limits import ORPHAN_GRACE_S
from manta.core.names import birth_ms
from manta.core.peers import NodeAddress
from manta.supervisor.data_dir import DataDir
from storage_nodes.api import BlobInfo
from storage_nodes.client.node_client import NodeClient
from storage_nodes.disk.listing import stored_blobs

Data = Annotated[Path, typer.Option(help="The store's data folder.")]
CatalogUrl = Annotated[str | None, typer.Option(help="postgresql://… instead of SQLite in the data folder.")]
_PAGE = 1000
_TIMES = ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"]
_SWEEP_HINT = "`manta restored --sweep` lets them go, once you have what you want of them."


def backup(file: Annotated[Path, typer.Argument(help="Where to write it.")], data: Data = Path("manta-data")) -> None:
    """Write the catalog as it is now to a file; the store may be running."""
    head = write_backup(_present(data), file, _now_ms())
    output.console().print(f"{file}: the catalog of {data}, {output.size_text(head.size)} before compression")


def restore(file: Annotated[Path, typer.Argument(exists=True)], data: Data = Path("manta-data")) -> None:
    """Put a backup in the place of a missing catalog; the store must be stopped."""
    folder = DataDir(data)
    folder.acquire()
    try:
        head = read_backup(file, folder.catalog, _now_ms())
    finally:
        folder.release()
    output.console().print(f"{folder.catalog}: restored, {output.size_text(head.size)}")
    output.console().print(f"Files of objects put after the backup are kept: `manta fsck` lists them. {_SWEEP_HINT}")


def restored(
    data: Data = Path("manta-data"),
    catalog: CatalogUrl = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            formats=_TIMES, help="The catalog was restored, by tools of its own, to its state at this time (UTC)."
        ),
    ] = None,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Nothing more is wanted of the kept files: sweep them.")
    ] = False,
) -> None:
    """Show, note or end the spans of time whose commits a restored catalog has lost; files from them are kept."""
    if since is not None and sweep:
        raise InvalidArgument("--since begins to keep files and --sweep ends it: say one of them.")
    for gap in asyncio.run(_restored(_url(data, catalog), since, sweep=sweep)):
        output.line(f"{_time_text(gap.since_ms)} to {_time_text(gap.until_ms)}")


async def _restored(url: str, since: datetime | None, *, sweep: bool) -> list[Gap]:
    """The gaps there are afterwards."""
    catalog = await open_catalog(url, SystemClock())
    try:
        if sweep:
            await catalog.close_gaps()
        elif since is not None:
            since_ms = int(since.replace(tzinfo=UTC).timestamp() * 1000)
            await catalog.add_gap(Gap(gap_begin_ms(since_ms), _now_ms()))
        return await catalog.gaps()
    finally:
        await catalog.close()


def fsck(
    data: Data = Path("manta-data"),
    catalog: CatalogUrl = None,
    json: Annotated[bool, typer.Option("--json", help="JSON lines.")] = False,
) -> None:
    """Compare the catalog with what the nodes hold. Changes nothing; exit code 1 if a copy is missing or wrong."""
    counts = asyncio.run(_fsck(_url(data, catalog), json))
    output.console().print(", ".join(f"{counts[problem]} × {problem.value}" for problem in Problem))
    if counts[Problem.UNNAMED]:
        output.console().print(_SWEEP_HINT)
    if counts[Problem.MISSING] or counts[Problem.SIZE]:
        raise typer.Exit(FAILED)


def _url(data: Path, catalog: str | None) -> str:
    return catalog or f"sqlite:{_present(data)}"


def _present(data: Path) -> Path:
    """The catalog in that folder. InvalidArgument where there is none."""
    path = DataDir(data).catalog
    if not path.exists():
        raise InvalidArgument(f"There is no catalog at {path}: say --data, or restore a backup first.")
    return path


def _now_ms() -> int:
    return int(SystemClock().wall_s() * 1000)


def _time_text(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def _fsck(url: str, json: bool) -> Counter[Problem]:
    """Print every confirmed finding of every node; how many there are of each kind."""
    counts: Counter[Problem] = Counter()
    catalog = await open_catalog(url, SystemClock())
    try:
        gaps = await catalog.gaps()
        for node in await catalog.list_nodes():
            async for difference in compare(node.node_id, _recorded(catalog, node), _held(node)):
                finding = judge(difference, gaps)
                if await _stands(catalog, finding):
                    counts[finding.problem] += 1
                    _print(finding, json)
    finally:
        await catalog.close()
    return counts


def _print(finding: Finding, json: bool) -> None:
    if json:
        values = {"problem": finding.problem.value, "node": finding.node_id, "blob": finding.blob_id}
        output.json_line({**values, "expected": finding.expected, "found": finding.found, "copies": finding.copies})
    else:
        sizes = f"expected {_size_text(finding.expected)}, found {_size_text(finding.found)}"
        output.line(f"{finding.node_id}  {finding.problem.value:<20}  {finding.blob_id}  {sizes}")


def _size_text(size: int | None) -> str:
    return "nothing" if size is None else f"{size:,} bytes"


async def _stands(catalog: Catalog, finding: Finding) -> bool:
    """Ask the catalog again: it went on while the listings were read. What is young may be on its way in."""
    age_s = SystemClock().wall_s() - birth_ms(finding.blob_id) / 1000
    if finding.problem is Problem.ORPHAN and age_s < ORPHAN_GRACE_S:
        return False
    unknown = await catalog.unknown_blobs(finding.node_id, [finding.blob_id])
    return confirm(finding, unknown, still_recorded=finding.blob_id not in unknown)


async def _recorded(catalog: Catalog, node: Node) -> AsyncIterator[Blob]:
    after = ""
    while page := await catalog.blobs_of_node(node.node_id, after=after, limit=_PAGE):
        for blob in page:
            yield blob
        after = page[-1].blob_id


async def _held(node: Node) -> AsyncIterator[BlobInfo]:
    """What a running node says it holds; of a stopped one on this machine, what lies in its folder."""
    client = NodeClient(NodeAddress(node.node_id, node.url, node.key))
    try:
        try:
            page = await client.list(limit=_PAGE)
        except NodeUnavailable:
            if node.volume is None or not Path(node.volume).is_dir():
                raise NodeUnavailable(f"Node {node.node_id} does not answer at {node.url}: start it first.") from None
            for info in await asyncio.to_thread(lambda: list(stored_blobs(Path(node.volume or "")))):
                yield info
            return
        while page:
            for info in page:
                yield info
            page = await client.list(after=page[-1].blob_id, limit=_PAGE)
    finally:
        await client.close()
