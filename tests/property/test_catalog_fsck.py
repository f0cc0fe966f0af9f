"""fsck's comparison against the plain set arithmetic it must equal."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st

from manta.catalog.fsck import Finding, Problem, compare, confirm
from manta.catalog.records import Blob
from storage_nodes.api import BlobInfo

T = TypeVar("T")
SIDES = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 3))


async def feed(values: Iterable[T]) -> AsyncIterator[T]:
    for value in values:
        yield value


def run(recorded: dict[str, int], held: dict[str, int], growing: set[str]) -> list[Finding]:
    rows = [Blob(name, recorded[name], ("n1", "n2")) for name in sorted(recorded)]
    infos = [BlobInfo(name, held[name], 0, name in growing) for name in sorted(held)]

    async def collect() -> list[Finding]:
        return [finding async for finding in compare("n1", feed(rows), feed(infos))]

    return asyncio.run(collect())


@given(SIDES, SIDES, st.sets(st.sampled_from("abcdefgh")))
def test_every_difference_is_found_once_and_in_order(
    recorded: dict[str, int], held: dict[str, int], growing: set[str]
) -> None:
    whole = {name: size for name, size in held.items() if name not in growing}
    found = run(recorded, held, growing)
    expected = {(Problem.MISSING, name) for name in recorded.keys() - whole.keys()}
    expected |= {(Problem.ORPHAN, name) for name in whole.keys() - recorded.keys()}
    expected |= {(Problem.SIZE, name) for name in whole.keys() & recorded.keys() if whole[name] != recorded[name]}
    assert [(finding.problem, finding.blob_id) for finding in found] == sorted(expected, key=lambda pair: pair[1])
    for finding in found:
        assert finding.expected == recorded.get(finding.blob_id)
        assert finding.found == whole.get(finding.blob_id)


def test_a_finding_stands_only_if_it_is_still_so() -> None:
    orphan, missing = run({"b": 1}, {"a": 1}, set())
    assert confirm(orphan, {"a"}, still_recorded=False)
    assert not confirm(orphan, set(), still_recorded=False)
    assert confirm(missing, set(), still_recorded=True)
    assert not confirm(missing, set(), still_recorded=False)
