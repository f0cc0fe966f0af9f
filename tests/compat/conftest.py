"""Stores for real clients, one per scheme and test worker, and a bucket for each test."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.compat import Endpoint, empty_bucket, running_endpoint

_numbers = itertools.count()


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """A store over http."""
    with running_endpoint(tmp_path_factory.mktemp("plain"), "http") as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """A store over https: boto3 and others send bodies in another form than over http."""
    with running_endpoint(tmp_path_factory.mktemp("secure"), "https") as endpoint:
        yield endpoint


@pytest.fixture(params=["http", "https"])
def endpoint(request: pytest.FixtureRequest) -> Endpoint:
    """Both stores, one after the other."""
    found: Endpoint = request.getfixturevalue("plain" if request.param == "http" else "secure")
    return found


@pytest.fixture
def s3(endpoint: Endpoint) -> Any:
    return endpoint.client


@pytest.fixture
def bucket(s3: Any) -> Iterator[str]:
    """A new bucket, removed with what is in it."""
    name = f"bucket-{next(_numbers)}"
    s3.create_bucket(Bucket=name)
    yield name
    empty_bucket(s3, name)
    s3.delete_bucket(Bucket=name)
