"""A Python function runs in every kind of zone: a store of root or of an ordinary user, built by bubblewrap or runc."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.sandbox.building.builders import builder_choice
from manta.sdk import Store
from tests.support.ordinary_user import user_of
from tests.support.store import running_store


@pytest.fixture(params=["user", "root-oci", "user-oci"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    who, _, builder = request.param.partition("-")
    options = ("--sandbox", builder) if builder else ()
    if builder and builder_choice(builder).find() is None:
        pytest.skip("there is no runc on this machine")
    user = user_of(who)
    with tempfile.TemporaryDirectory(prefix="manta-python-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with running_store(folder / "s", *options, user=user) as running, running.client() as client:
            client.make_bucket("words")
            client.write("s3://words/one", b"hello")
            yield client


@pytest.mark.invariant("S4")
def test_a_function_reads_its_object_and_writes_nothing_but_scratch(store: Store) -> None:
    def look(o: Any) -> list[Any]:
        refused = []
        for path in (o.path, "/manta/python/program", "/manta/python/run", "/manta/site-packages/new", "/usr/new"):
            try:
                with open(path, "r+b" if Path(path).exists() else "xb"):
                    pass
            except OSError:
                refused.append(path)
        with open("mine", "w") as file:
            file.write("scratch")
        return [o.text(), len(refused), str(Path.cwd()), [path.name for path in Path.cwd().iterdir()]]

    assert store.objects("s3://words/one").map(look).collect() == [["hello", 5, "/scratch", ["mine"]]]
