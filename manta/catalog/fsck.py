"""Comparing what the catalog says a node holds with what is on its disk: a merge of two sorted listings.

Pure: it is fed by iterators over catalog pages (`blobs_of_node`) and node listings (`BlobNode.list`), both in order of
blob id, and holds one entry of each at a time.
"""

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, replace
from enum import StrEnum

from manta.catalog.records import Blob, Gap
from manta.core.names import birth_ms
from storage_nodes.api import BlobInfo


class Problem(StrEnum):
    MISSING = "missing copy"
    ORPHAN = "orphan file"
    SIZE = "size mismatch"
    UNNAMED = "kept since a restore"


@dataclass(frozen=True, slots=True)
class Finding:
    """`expected` is the catalog's size in bytes, `found` the file's; None where there is none.

    `copies` is on how many nodes the catalog has the blob: a missing copy of a blob with one is a lost object.
    """

    problem: Problem
    node_id: str
    blob_id: str
    expected: int | None
    found: int | None
    copies: int = 0


async def compare(node_id: str, recorded: AsyncIterator[Blob], held: AsyncIterator[BlobInfo]) -> AsyncIterator[Finding]:
    """Every difference, in order of blob id.

    A growing file is no orphan by itself, nor is one that is garbage or was just written: the caller asks the catalog
    (`confirm`) and leaves out what is younger than limits.ORPHAN_GRACE_S.
    """
    row, info = await anext(recorded, None), await anext(held, None)
    while row is not None or info is not None:
        if info is None or (row is not None and row.blob_id < info.blob_id):
            assert row is not None  # one of the two is there
            yield Finding(Problem.MISSING, node_id, row.blob_id, row.size, None, len(row.nodes))
            row = await anext(recorded, None)
        elif row is None or info.blob_id < row.blob_id:
            if not info.growing:
                yield Finding(Problem.ORPHAN, node_id, info.blob_id, None, info.size)
            info = await anext(held, None)
        else:
            if info.growing:
                yield Finding(Problem.MISSING, node_id, row.blob_id, row.size, None, len(row.nodes))
            elif info.size != row.size:
                yield Finding(Problem.SIZE, node_id, row.blob_id, row.size, info.size, len(row.nodes))
            row, info = await anext(recorded, None), await anext(held, None)


def judge(finding: Finding, gaps: Collection[Gap]) -> Finding:
    """An orphan that was born in a gap of a restored catalog may be an object that only lost rows named."""
    if finding.problem is Problem.ORPHAN and any(gap.covers(birth_ms(finding.blob_id)) for gap in gaps):
        return replace(finding, problem=Problem.UNNAMED)
    return finding


def confirm(finding: Finding, unknown: Collection[str], *, still_recorded: bool) -> bool:
    """Whether a finding stands after both sides were asked again, since they were read at different times.

    `unknown` is the answer of `NodeStore.unknown_blobs`; `still_recorded` says whether the catalog still wants the blob
    on that node.
    """
    if finding.problem in (Problem.ORPHAN, Problem.UNNAMED):
        return finding.blob_id in unknown
    return still_recorded
