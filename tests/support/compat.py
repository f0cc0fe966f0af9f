"""What compatibility tests share: a store that clients reach over http or https, clients in environments of their own,
and a tree of files to carry back and forth.
"""

import fcntl
import hashlib
import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from manta.core.limits import MIB
from tests.support.certificates import Certificate, self_signed
from tests.support.store import RunningStore, running_store

DOMAIN = "s3.localhost"
REGION = "us-east-1"
COMMAND_TIMEOUT_S = 110.0
SESSION = boto3.session.Session()  # one for all: it reads botocore's description of S3 once


@dataclass(frozen=True)
class Endpoint:
    """A running store as its clients see it. `certificate` is None over plain http."""

    store: RunningStore
    certificate: Certificate | None

    @property
    def url(self) -> str:
        return self.store.url

    @property
    def secure(self) -> bool:
        return self.certificate is not None

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port is not None
        return port

    @property
    def environment(self) -> dict[str, str]:
        """For commands that read the usual AWS variables; no file of the user's home is read."""
        environment = self.store.environment | {"AWS_ENDPOINT_URL_S3": self.url, "AWS_ENDPOINT_URL": self.url}
        if self.certificate is not None:
            environment["AWS_CA_BUNDLE"] = str(self.certificate.chain)
        return environment

    @cached_property
    def client(self) -> Any:
        """The client that tests share; closed with the store."""
        return self.boto3()

    def boto3(self, *, url: str | None = None, **options: Any) -> Any:
        """A client as boto3 makes it, except that it tries once: a retry would hide a defect."""
        s3_options = options.pop("s3", {})
        options.setdefault("retries", {"total_max_attempts": 1})
        return SESSION.client(
            "s3",
            endpoint_url=url or self.url,
            aws_access_key_id=self.store.access_key,
            aws_secret_access_key=self.store.secret_key,
            region_name=REGION,
            verify=str(self.certificate.chain) if self.certificate else None,
            config=Config(s3=s3_options, read_timeout=60, max_pool_connections=32, **options),
        )


@contextmanager
def running_endpoint(folder: Path, scheme: str, *options: str) -> Iterator[Endpoint]:
    """A store of two nodes and two copies that also answers to BUCKET.s3.localhost."""
    folder.mkdir(parents=True, exist_ok=True)
    certificate = self_signed(folder, "localhost", DOMAIN, f"*.{DOMAIN}") if scheme == "https" else None
    words = ["--nodes", "2", "--copies", "2", "--lanes", "0", "--domain", DOMAIN, *options]
    if certificate is not None:
        words += ["--tls-cert", str(certificate.chain), "--tls-key", str(certificate.key)]
    with running_store(folder, *words) as store:
        assert store.url.startswith(f"{scheme}://")
        endpoint = Endpoint(store, certificate)
        yield endpoint
        endpoint.client.close()


@contextmanager
def names_lead_home(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Within, every name under the store's domain is 127.0.0.1 for this process, whatever the machine's resolver."""
    real = socket.getaddrinfo

    def resolve(host: Any, *arguments: Any, **options: Any) -> Any:
        return real("127.0.0.1" if str(host).endswith(DOMAIN) else host, *arguments, **options)

    with patch.context() as within:
        within.setattr(socket, "getaddrinfo", resolve)
        yield


def refused(call: Any, /, *arguments: Any, **options: Any) -> tuple[int, str]:
    """Status and code of the error that the call ends with."""
    with pytest.raises(ClientError) as caught:
        call(*arguments, **options)
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


def empty_bucket(client: Any, bucket: str) -> None:
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        doomed = [{"Key": item["Key"]} for item in page.get("Contents", [])]
        if doomed:
            assert "Errors" not in client.delete_objects(Bucket=bucket, Delete={"Objects": doomed})


# ---- files -----------------------------------------------------------------------------------------------------------


def plant_tree(folder: Path, *, small: int = 50, big_bytes: int = 20 * MIB) -> dict[str, str]:
    """A folder tree with `small` small files (one empty, some with names that need quoting) and a big one.

    → SHA-256 by relative path.
    """
    source = random.Random(11)
    names = [
        f"d{n % 4}/e{n % 3}/file {n:02d}+é.txt" if n % 10 == 0 else f"d{n % 4}/file-{n:02d}.txt" for n in range(small)
    ]
    sizes = [0, *(source.randrange(1, 9000) for _ in names[1:])]
    for name, size in [*zip(names, sizes, strict=True), ("d0/big.bin", big_bytes)]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.randbytes(size))
    return sums_of(folder)


def sums_of(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below, by relative path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def sums_in(client: Any, bucket: str, prefix: str = "") -> dict[str, str]:
    """SHA-256 of every object below `prefix`, by the rest of its key."""
    found: dict[str, str] = {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page.get("Contents", []):
            body = client.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
            found[item["Key"].removeprefix(prefix)] = hashlib.sha256(body).hexdigest()
    return found


# ---- clients ---------------------------------------------------------------------------------------------------------


def run(command: list[str], environment: dict[str, str], stdin: bytes | None = None) -> bytes:
    """What the command prints; an AssertionError with all its words when it fails."""
    done = subprocess.run(
        command, input=stdin, capture_output=True, env=environment, timeout=COMMAND_TIMEOUT_S, check=False
    )
    said = done.stdout[-2000:] + done.stderr[-4000:]
    assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{said.decode(errors='replace')}"
    return done.stdout


def debian_command(name: str) -> str:
    """The path of a program that scripts/setup installs as root; skips, naming the package, where it is missing."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not on this machine, and only root may install it: apt-get install {name}")
    return path


def client_environment(name: str, *requirements: str) -> Path:
    """The `bin` folder of a virtual environment that holds one client and what it pins.

    Kept inside this project's own environment, so that `make clean` removes it and a fresh clone makes it anew. Made
    once even by several test workers; made again when the requirements change. A registry that cannot be reached fails
    the test: a client that was never tried is not compatible.
    """
    folder = Path(sys.prefix) / "clients" / name
    folder.parent.mkdir(exist_ok=True)
    wanted = "\n".join(requirements)
    stamp = folder / ".requirements"
    with open(folder.parent / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            _install(folder, requirements)
            stamp.write_text(wanted)
    return folder / "bin"


def _install(folder: Path, requirements: tuple[str, ...]) -> None:
    base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    for command in (
        [str(base), "-m", "venv", str(folder)],
        [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--only-binary=:all:", *requirements],
    ):
        done = subprocess.run(command, capture_output=True, env=environment, text=True, check=False)
        if done.returncode:
            pytest.fail(
                f"The client could not be installed, so its compatibility is unknown: {' '.join(command)}\n"
                f"{done.stderr[-2000:]}"
            )
