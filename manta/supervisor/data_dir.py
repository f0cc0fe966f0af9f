"""The data directory of an embedded store: what lies where, its settings, its credentials, and who owns it."""

import configparser
import fcntl
import hashlib
import io
import os
import secrets
import string
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from manta.core.errors import InvalidArgument, ServiceUnavailable
from manta.core.owner import claim_folder

FORMAT = 1
_SOCKET_PATH_MAX_BYTES = 80


class Settings(msgspec.Struct, frozen=True):
    """What was decided when the store was made. `nodes` only grows; each node's key is hexadecimal."""

    format: int
    machine_id: str
    copies: int
    nodes: dict[str, str]


@dataclass(frozen=True, slots=True, repr=False)
class RootKeys:
    access_key: str
    secret_key: str


class DataDir:
    """`path` and everything below it; made with mode 0700 when missing."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: int | None = None
        self._runtime: Path | None = None

    @property
    def credentials(self) -> Path:
        return self.path / "credentials"

    @property
    def catalog(self) -> Path:
        return self.path / "catalog.db"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def evidence(self) -> Path:
        return self.path / "evidence"

    @property
    def settings_file(self) -> Path:
        return self.path / "store.json"

    def node_dir(self, node_id: str) -> Path:
        return self.path / "nodes" / node_id

    def config_file(self, name: str) -> Path:
        return self.path / "config" / f"{name}.json"

    @property
    def runtime(self) -> Path:
        """Sockets: below the data directory, or in a temporary folder where that path would be too long for one."""
        if self._runtime is None:
            inside = self.path / "run"
            if len(os.fsencode(inside)) <= _SOCKET_PATH_MAX_BYTES:
                inside.mkdir(mode=0o700, exist_ok=True)
                self._runtime = inside
            else:
                name = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
                self._runtime = Path(tempfile.gettempdir()) / f"manta-{os.getuid()}-{name}"
                try:
                    claim_folder(self._runtime, name, 0o700, f"manta-{os.getuid()}-*")
                except OSError as error:
                    raise ServiceUnavailable(
                        f"{self._runtime} cannot be made ({error.strerror}): remove what is in its place."
                    ) from None
        return self._runtime

    def acquire(self) -> None:
        """Become the one supervisor of this directory until the process ends."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.logs, self.evidence, self.path / "nodes", self.path / "config"):
                folder.mkdir(mode=0o700, exist_ok=True)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise InvalidArgument(
                f"{self.path} cannot hold a store ({error.strerror}): choose another --data."
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServiceUnavailable(
                f"Another `manta serve` uses {self.path}: stop it, or give this one another --data folder."
            ) from None

    def release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def settings(self, nodes: int | None, copies: int | None) -> Settings:
        """The store's settings, made at its first start. Nodes may be added later, never silently dropped."""
        known = self._read_settings()
        have = dict(known.nodes) if known else {}
        want = max(nodes or len(have) or 1, 1)
        if want < len(have):
            raise InvalidArgument(
                f"This store has {len(have)} nodes, {want} were asked for: removing nodes is not supported yet."
            )
        for number in range(len(have) + 1, want + 1):
            have[f"node-{number}"] = secrets.token_hex(32)
        wanted_copies = copies or (known.copies if known else 1)
        if not 1 <= wanted_copies <= len(have):
            raise InvalidArgument(f"{wanted_copies} copies need as many nodes; there are {len(have)}: raise --nodes.")
        machine = known.machine_id if known else secrets.token_hex(8)
        settings = Settings(format=FORMAT, machine_id=machine, copies=wanted_copies, nodes=have)
        if settings != known:
            write_private(self.settings_file, msgspec.json.format(msgspec.json.encode(settings)))
        return settings

    def _read_settings(self) -> Settings | None:
        if not self.settings_file.exists():
            return None
        try:
            settings = msgspec.json.decode(self.settings_file.read_bytes(), type=Settings)
        except msgspec.DecodeError as error:
            raise InvalidArgument(f"{self.settings_file} is damaged ({error}): restore it from a backup.") from None
        if settings.format > FORMAT:
            raise InvalidArgument(f"{self.path} was written by a newer manta: upgrade this one.")
        return settings

    def root_keys(self) -> RootKeys:
        """The root account's keys: from the file, else from MANTA_ROOT_*, else made; kept in `credentials`."""
        if self.credentials.exists():
            parser = configparser.ConfigParser(interpolation=None)
            parser.read(self.credentials)
            section = parser["default"]
            return RootKeys(section["aws_access_key_id"], section["aws_secret_access_key"])
        keys = RootKeys(
            os.environ.get("MANTA_ROOT_ACCESS_KEY") or _make_access_key(),
            os.environ.get("MANTA_ROOT_SECRET_KEY") or secrets.token_urlsafe(30),
        )
        self._write_credentials(keys)
        return keys

    def _write_credentials(self, keys: RootKeys) -> None:
        parser = configparser.ConfigParser(interpolation=None)
        parser["default"] = {"aws_access_key_id": keys.access_key, "aws_secret_access_key": keys.secret_key}
        text = io.StringIO()
        parser.write(text)
        write_private(self.credentials, text.getvalue().encode())


def write_private(path: Path, content: bytes) -> None:
    """Replace `path` by a file that only its owner reads, atomically and durably."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _make_access_key() -> str:
    alphabet = string.ascii_uppercase + string.digits
    return "MANTA" + "".join(secrets.choice(alphabet) for _ in range(15))
