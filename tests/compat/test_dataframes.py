"""The libraries that data work reads and writes S3 with: pyarrow, s3fs, Polars and Delta Lake."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.compat import Endpoint, client_environment, plant_tree, run, sums_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture(scope="session")
def python() -> str:
    """An interpreter with all of them: 550 MB, which is why these tests are slow ones."""
    wanted = ("pyarrow==26.0.1", "s3fs==2026.9.0", "polars==2.1.0", "deltalake==1.6.6")
    return str(client_environment("dataframes", *wanted) / "python")


def do(python: str, endpoint: Endpoint, program: str, *arguments: str) -> None:
    print(run([python, str(PROGRAMS / program), *arguments], endpoint.environment).decode())


def test_pyarrow(python: str, endpoint: Endpoint) -> None:
    """Unsigned trailers with CRC64NVME, also over http; streams are multipart uploads."""
    do(python, endpoint, "with_pyarrow.py", "arrow-bucket")


def test_s3fs(python: str, endpoint: Endpoint, tmp_path: Path) -> None:
    sums = plant_tree(tmp_path / "tree")
    (tmp_path / "back").mkdir()
    do(python, endpoint, "with_s3fs.py", "s3fs-bucket", str(tmp_path / "tree"), str(tmp_path / "back"))
    assert sums_of(tmp_path / "back") == sums


@pytest.mark.invariant("C3")
def test_polars_and_delta(python: str, plain: Endpoint) -> None:
    """Unsigned payloads, suffix ranges, and commits of four writers that race by `If-None-Match: *`."""
    client: Any = plain.client
    client.create_bucket(Bucket="frames")
    do(python, plain, "with_object_store.py", "frames")
