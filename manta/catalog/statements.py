"""SQL from `.sql` files: each statement stands under a line `-- name: <name>`; migrations are numbered files."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from manta.core.errors import InvalidArgument, ServiceUnavailable

_HEAD = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)
_MIGRATION = re.compile(r"(\d{4})_(\w+)\.sql")


def load(package: str) -> Mapping[str, str]:
    """Every statement of `<package>/sql/*.sql` by its name, which is unique among all of them."""
    statements: dict[str, str] = {}
    for entry in sorted(files(package).joinpath("sql").iterdir(), key=lambda entry: entry.name):
        pieces = _HEAD.split(entry.read_text("utf-8"))[1:]
        for name, text in zip(pieces[::2], pieces[1::2], strict=True):
            if name in statements:
                raise ValueError(f"two statements are named {name}, one of them in {entry.name}")
            statements[name] = text.strip().removesuffix(";")
    return statements


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    script: str


def migrations(package: str) -> list[Migration]:
    """The files `<package>/migrations/NNNN_<name>.sql` in order; each is run once, in a transaction of its own."""
    found = []
    for entry in files(package).joinpath("migrations").iterdir():
        match = _MIGRATION.fullmatch(entry.name)
        if match:
            found.append(Migration(int(match[1]), match[2], entry.read_text("utf-8")))
    return sorted(found, key=lambda migration: migration.number)


def pending(known: list[Migration], applied: set[int], where: str) -> list[Migration]:
    """The migrations still to run. InvalidArgument when the catalog was written by a newer version."""
    newest, newest_known = max(applied, default=0), max(migration.number for migration in known)
    if newest > newest_known:
        raise InvalidArgument(
            f"The catalog {where} has schema {newest}, and this version of manta knows schemas up to {newest_known}: "
            "start the newer version that wrote it, or restore a backup made before the upgrade."
        )
    return [migration for migration in known if migration.number not in applied]


def left_behind(known: list[Migration], newest: int) -> ServiceUnavailable | None:
    """What a running program says when the schema refuses its statements, if a newer program has changed it."""
    newest_known = max(migration.number for migration in known)
    if newest <= newest_known:
        return None
    return ServiceUnavailable(
        f"The catalog has schema {newest} since another gateway was upgraded, and this gateway knows schemas up to "
        f"{newest_known}: upgrade it to the same version and start it again."
    )
