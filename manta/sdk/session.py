"""Which store, as whom: the same rules for every command and for `manta.connect()`."""

import configparser
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import botocore.exceptions
import botocore.session
from botocore.credentials import Credentials

from manta.core.errors import AccessDenied, InvalidArgument, ServiceUnavailable

DEFAULT_REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class Session:
    """An endpoint and the keys to sign with."""

    url: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str = DEFAULT_REGION
    ca_bundle: str | None = None

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Session is not packed: it holds your keys")

    @property
    def credentials(self) -> Credentials:
        return Credentials(self.access_key, self.secret_key)


def find_session(
    url: str | None = None,
    access_key: str | None = None,
    secret_key: str | None = None,
    *,
    environment: Mapping[str, str] = os.environ,
) -> Session:
    """Arguments, else the environment and the usual AWS chain, else the store that `manta serve` last started here.

    ServiceUnavailable when no endpoint is known, AccessDenied when no keys are.
    """
    last = _last_store(environment)
    from_environment = _endpoint(environment)
    endpoint = url or from_environment or last.get("url")
    if endpoint is None:
        raise ServiceUnavailable("No store is known: start one with `manta serve`, or set MANTA_URL.")
    if not endpoint.startswith(("http://", "https://")):
        raise InvalidArgument(f"An endpoint begins with http:// or https://, not {endpoint!r}.")
    endpoint = endpoint.rstrip("/")
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or last.get("region")
    keys = (access_key, secret_key) if access_key and secret_key else _keys(last, endpoint, environment)
    if keys is None:
        raise _no_keys(endpoint)
    return Session(endpoint, *keys, region or DEFAULT_REGION, environment.get("AWS_CA_BUNDLE"))


def _endpoint(environment: Mapping[str, str]) -> str | None:
    for name in ("MANTA_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if value := environment.get(name):
            return value
    return None


def _keys(last: Mapping[str, str], endpoint: str, environment: Mapping[str, str]) -> tuple[str, str] | None:
    """The last store's own keys when that store is meant and the AWS chain names no others."""
    explicit = any(
        environment.get(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE")
    )
    if not explicit and last.get("url") == endpoint and (keys := _read_credentials(last.get("credentials"))):
        return keys
    try:
        found = botocore.session.Session().get_credentials()
    except botocore.exceptions.ProfileNotFound:
        return None
    except botocore.exceptions.BotoCoreError as error:
        raise InvalidArgument(f"The AWS configuration cannot be used: {error}.") from None
    if found is not None and found.access_key and found.secret_key:
        return found.access_key, found.secret_key
    return None


def _no_keys(endpoint: str) -> AccessDenied:
    """Says where the AWS chain looked: a file may well hold keys, of a profile that was not asked for."""
    chain = botocore.session.Session()
    file = os.path.expanduser(chain.get_config_variable("credentials_file"))  # noqa: PTH111 - it never fails
    profile = chain.get_config_variable("profile") or "default"
    seen = f"holds none for the profile {profile}" if os.access(file, os.R_OK) else "is not there, or not readable"
    return AccessDenied(
        f"No keys for {endpoint}: {file} {seen}; choose a profile by AWS_PROFILE=NAME or a file by "
        "AWS_SHARED_CREDENTIALS_FILE=FILE, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
    )


def _read_credentials(path: str | None) -> tuple[str, str] | None:
    if path is None:
        return None
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(path)
    if not parser.has_section("default"):
        return None
    section = parser["default"]
    return section["aws_access_key_id"], section["aws_secret_access_key"]


def _last_store(environment: Mapping[str, str]) -> dict[str, str]:
    """What `manta serve` wrote when it was last started: `name=value` lines."""
    base = Path(environment.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    try:
        lines = (base / "manta" / "last-store").read_text().splitlines()
    except OSError:
        return {}
    return dict(line.split("=", 1) for line in lines if "=" in line)
