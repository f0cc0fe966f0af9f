"""Paths of a volume: inside it, spread by the random end of the id, and never made of anything but an id."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manta.core.errors import InvalidArgument
from storage_nodes.disk.layout import Layout, blob_path
from storage_nodes.disk.space import reserve_bytes

LAYOUT = Layout(Path("/volume"))
ids = st.binary(min_size=16, max_size=16).map(bytes.hex)


@given(ids)
def test_a_blob_lies_below_the_random_end_of_its_id(blob_id: str) -> None:
    assert LAYOUT.blob(blob_id) == f"/volume/blobs/{blob_id[30:]}/{blob_id[28:30]}/{blob_id}"
    assert LAYOUT.blob(blob_id) == f"/volume/blobs/{blob_path(blob_id)}"
    assert LAYOUT.blob(blob_id).startswith(LAYOUT.blob_folder(blob_id) + "/")


@pytest.mark.invariant("S2")
@given(st.text(max_size=40).filter(lambda text: len(text) != 32))
@pytest.mark.parametrize("bad", ["../" * 10 + "ab", "/etc/passwd".ljust(32, "x"), "A" * 32, "0" * 31 + "\n", ""])
def test_s2_nothing_but_an_id_becomes_a_path(bad: str, other: str) -> None:
    for text in (bad, other):
        for path in (LAYOUT.blob, LAYOUT.blob_folder, LAYOUT.growing_blob, blob_path):
            with pytest.raises(InvalidArgument):
                path(text)
        with pytest.raises(InvalidArgument):
            LAYOUT.temporary(text, 0)
        with pytest.raises(InvalidArgument):
            LAYOUT.quarantined(text, 0)


@given(st.integers(0, 1 << 50))
def test_the_reserve_never_takes_more_than_half(total: int) -> None:
    assert 0 <= reserve_bytes(total) <= total // 2
