"""Assets as a document names them: each a file below /assets, whatever its key is."""

import contextlib
import os.path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.model.furniture import parse_assets
from manta.core.errors import InvalidArgument
from manta.core.limits import ASSETS_MAX

KEYS = st.lists(st.sampled_from(["a", "b c", "..", ".", "", "ü", "%2e%2e", "x" * 255, "x" * 256, "l\nine"]), min_size=1)


@pytest.mark.invariant("S2")
@given(st.lists(KEYS.map("/".join), max_size=5))
def test_an_asset_is_a_file_below_its_bucket_or_refused(keys: list[str]) -> None:
    found: tuple[tuple[str, str], ...] = ()
    with contextlib.suppress(InvalidArgument):
        found = parse_assets([f"s3://tools/{key}" for key in keys], "phase 0")
    paths = [f"/assets/{bucket}/{key}" for bucket, key in found]
    assert [os.path.normpath(path) for path in paths] == paths
    assert all(path.startswith("/assets/tools/") for path in paths)
    assert not any(two.startswith(one + "/") for one in paths for two in paths)
    assert [key for _, key in found] in ([], list(dict.fromkeys(keys)))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("s3://tools/x", "list"),
        ([1], "s3://bucket/key"),
        (["tools/x"], "s3://bucket/key"),
        (["s3://Tools_/x"], "bucket"),
        (["s3://tools/"], "key"),
        (["s3://tools/../x"], "file's path"),
        (["s3://tools/a", "s3://tools/a/b"], "a file and a folder"),
        ([f"s3://tools/{number}" for number in range(ASSETS_MAX + 1)], f"at most {ASSETS_MAX}"),
    ],
)
def test_what_cannot_be_an_asset_is_refused_with_the_reason(value: object, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        parse_assets(value, "phase 0")
