"""`manta put get cat`: bytes between objects and files."""

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Annotated, BinaryIO

import typer

from manta.cli import output
from manta.cli.interruptible import interruptible_stdin
from manta.cli.unfinished import becoming, sweep_at_signals
from manta.cli.uris import Recursive, Uri, below, complete_uri
from manta.core.errors import BadRequest, InvalidArgument, NoSuchKey
from manta.core.names import split_uri
from manta.sdk import ObjectInfo, Store, connect
from manta.sdk.objects import Selection

_SIDE_BY_SIDE = 8
_STDOUT = ("-", "/dev/stdout", "/dev/fd/1")
_DESCRIPTOR = re.compile(r"/dev/(?:stderr|fd/(\d{1,9}))", re.ASCII)
"""What the shell has opened. By this name it would be opened anew, and a file that the shell appends to be emptied."""


def put(
    sources: Annotated[list[str], typer.Argument(metavar="FILE… s3://BUCKET/KEY", help="`-` is stdin.")],
    recursive: Recursive = False,
) -> None:
    """Upload files; a target that ends in `/` takes each under its own name."""
    *files, target = sources
    if not files:
        raise InvalidArgument("Two things are wanted: a file (or -) and s3://BUCKET/KEY.")
    uploads = list(_uploads(files, target, recursive))
    _refuse_twins(uploads)
    with connect() as store:
        if len(uploads) == 1:
            _upload(store, *uploads[0])
            return
        _side_by_side("put", [partial(_upload, store, source, uri) for source, uri in uploads])


def _refuse_twins(pairs: Iterable[tuple[str, str]]) -> None:
    """InvalidArgument when two have one target, where the one that ends last would replace the other unseen."""
    sources: dict[str, str] = {}
    for source, target in pairs:
        if target in sources:
            raise InvalidArgument(f"{sources[target]} and {source} would both become {target}: take them one by one.")
        sources[target] = source


def _side_by_side(what: str, actions: Sequence[Callable[[], None]]) -> None:
    """Run all of them, some at once, with one bar for all; the first error ends the rest."""
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool, output.counting(what, len(actions)) as done:
        pending = [pool.submit(action) for action in actions]
        try:
            for ended in as_completed(pending):
                ended.result()
                done()
        finally:
            pool.shutdown(cancel_futures=True)


def _uploads(files: list[str], target: str, recursive: bool) -> Iterator[tuple[str, str]]:
    bucket, key = split_uri(target)
    if len(files) > 1 and key and not key.endswith("/"):
        raise InvalidArgument(f"Several files need a target that ends in `/`: s3://{bucket}/{key}/")
    into = not key or key.endswith("/")
    folder = f"s3://{bucket}/{key}" if not key or key.endswith("/") else f"s3://{bucket}/{key}/"
    for name in files:
        path = Path(name)
        if name != "-" and path.is_dir():
            if not recursive:
                raise InvalidArgument(f"{name} is a folder: add -r.")
            for file in sorted(path.rglob("*")):
                if file.is_file():
                    yield str(file), folder + file.relative_to(path).as_posix()
        elif name == "-" and into:
            raise InvalidArgument("Standard input needs a full key as its target.")
        else:
            yield name, folder + path.name if into else target


def _upload(store: Store, source: str, uri: str) -> None:
    if source == "-":
        with output.transfer(uri, None) as progress:
            store.upload(interruptible_stdin(), uri, progress=progress)
        return
    try:
        with open(source, "rb") as file, output.transfer(source, os.fstat(file.fileno()).st_size) as progress:
            store.upload(file, uri, progress=progress)
    except OSError as error:
        raise InvalidArgument(f"{source} cannot be read: {error.strerror}.") from None


def get(
    uri: Uri,
    target: Annotated[str | None, typer.Argument(metavar="[FILE|FOLDER|-]")] = None,
    recursive: Recursive = False,
) -> None:
    """Download an object, or with a glob or -r all that is selected into a folder."""
    sweep_at_signals()
    with connect() as store:
        selection = Selection.parse(uri)
        if selection.is_single and not recursive:
            _get_one(store, uri, target)
            return
        if target in _STDOUT:
            raise InvalidArgument(
                "Several objects are got into a folder; `manta cat` writes those of a glob to stdout."
            )
        base = selection.prefix.rpartition("/")[0]
        folder = Path(target or ".")
        entries = list(below(store, uri) if recursive else store.list_objects(uri))
        if not entries:
            raise NoSuchKey(f"Nothing lies at {uri}.")
        paths = [_inside(folder, entry.key, base) for entry in entries]
        _refuse_twins([(entry.uri, str(path)) for entry, path in zip(entries, paths, strict=True)])
        _side_by_side("get", [partial(_download, store, *pair) for pair in zip(entries, paths, strict=True)])


def _get_one(store: Store, uri: str, target: str | None) -> None:
    """To stdout, into a folder, or to a file. A mistyped folder is not made in passing."""
    if target in _STDOUT:
        _copy_out(store, uri)
        return
    name = PurePosixPath(split_uri(uri)[1]).name
    path = Path(target or name)
    with _writing(uri, path):
        if not path.absolute().parent.is_dir():
            raise InvalidArgument(f"There is no folder {path.parent}: make it first.")
        path = path / name if path.is_dir() else path
    _download(store, store.stat(uri), path)


def _inside(folder: Path, key: str, base: str) -> Path:
    """Where a key goes below `folder`; a key like `../x` must not lead out of it."""
    path = folder / key.removeprefix(base).lstrip("/")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BadRequest(f"The key {key!r} would lead out of {folder}: get it by itself, with a file name.")
    return path


def _download(store: Store, entry: ObjectInfo, path: Path) -> None:
    """To a file. An empty object whose key ends in `/` is what other programs make of a folder: it becomes one."""
    with _writing(entry.uri, path):
        if entry.key.endswith("/") and not entry.size:
            path.mkdir(parents=True, exist_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        _download_to(store, entry, path)


@contextmanager
def _writing(uri: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidArgument(f"{uri} cannot be written to {path}: {error.strerror}.") from None


def _download_to(store: Store, entry: ObjectInfo, path: Path) -> None:
    """As a whole; into a pipe or a device as it comes."""
    if stream := _stream(path):
        with stream:
            _fill(stream, store, entry)
        return
    with becoming(path) as file:
        _fill(file, store, entry)


def _stream(path: Path) -> BinaryIO | None:
    """What takes bytes as they come, if the path is of such a thing."""
    if descriptor := _DESCRIPTOR.fullmatch(str(path)):
        return open(os.dup(int(descriptor[1] or 2)), "wb")
    return open(path, "wb") if path.exists() and not path.is_file() else None


def _fill(file: BinaryIO, store: Store, entry: ObjectInfo) -> None:
    with output.transfer(entry.uri, entry.size) as progress:
        store.download(entry.uri, file, progress=progress)


def cat(uris: Annotated[list[str], typer.Argument(metavar="s3://BUCKET/KEY…", autocompletion=complete_uri)]) -> None:
    """Write objects to stdout, one after another."""
    with connect() as store:
        for uri in uris:
            found = False
            for name in [uri] if Selection.parse(uri).is_single else (entry.uri for entry in store.list_objects(uri)):
                found = True
                _copy_out(store, name)
            if not found:
                raise NoSuchKey(f"Nothing lies at {uri}.")


def _copy_out(store: Store, uri: str) -> None:
    out: BinaryIO = sys.stdout.buffer
    for chunk in store.stream(uri):
        out.write(chunk)
    out.flush()
