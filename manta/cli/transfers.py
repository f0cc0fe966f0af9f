"""`manta put get cat`: bytes between objects and files."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Annotated, BinaryIO

import typer

from manta.cli import output
from manta.cli.interruptible import impatient_interrupts, interruptible_stdin
from manta.cli.shell_files import STDOUT, InOrder, descriptor_named, open_in_order
from manta.cli.unfinished import becoming, sweep_at_signals
from manta.cli.uris import Recursive, Uri, below, complete_uri
from manta.core.errors import BadRequest, InvalidArgument, NoSuchKey
from manta.core.names import split_uri
from manta.sdk import ObjectInfo, Store, connect
from manta.sdk.objects import Selection

_SIDE_BY_SIDE = 8


def put(
    sources: Annotated[list[str], typer.Argument(metavar="FILE… s3://BUCKET/KEY", help="`-` is stdin.")],
    recursive: Recursive = False,
) -> None:
    """Upload files; a target that ends in `/` takes each under its own name."""
    *files, target = sources
    if not files:
        raise InvalidArgument("Two things are wanted: a file (or -) and s3://BUCKET/KEY.")
    with _reading("What is to be put"):
        uploads = list(_uploads(files, target, recursive))
        if len(uploads) > 1:
            _refuse_twins(((os.path.realpath(source), uri) for source, uri in uploads), "give one another key")
    for _, uri in uploads:
        split_uri(uri)  # no name is found bad once others are on their way
    impatient_interrupts()
    with connect() as store:
        if len(uploads) == 1:
            _upload(store, *uploads[0])
            return
        _side_by_side("put", [partial(_upload, store, source, uri) for source, uri in uploads])


def _refuse_twins(pairs: Iterable[tuple[str, str]], remedy: str) -> None:
    """InvalidArgument when two have one target, where the one that ends last would replace the other unseen."""
    sources: dict[str, str] = {}
    for source, target in pairs:
        if sources.setdefault(target, source) != source:
            raise InvalidArgument(f"{sources[target]} and {source} would both become {target}: {remedy}.")


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
            for file in _files_below(path):
                yield str(file), folder + file.relative_to(path).as_posix()
        elif name == "-" and into:
            raise InvalidArgument("Standard input needs a full key as its target.")
        else:
            yield name, folder + path.name if into else target


def _files_below(folder: Path) -> list[Path]:
    """OSError when one of its folders cannot be read: what lies there would be missed unseen."""

    def fail(error: OSError) -> None:
        raise error

    walk = os.walk(folder, onerror=fail)
    return sorted(path for parent, _, names in walk for name in names if (path := Path(parent, name)).is_file())


def _upload(store: Store, source: str, uri: str) -> None:
    if source == "-":
        with output.transfer(uri, None) as progress:
            store.upload(interruptible_stdin(), uri, progress=progress)
        return
    with (
        _reading(source),
        open(source, "rb") as file,
        output.transfer(source, os.fstat(file.fileno()).st_size) as progress,
    ):
        store.upload(file, uri, progress=progress)


@contextmanager
def _reading(source: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidArgument(f"{error.filename or source} cannot be read: {error.strerror}.") from None


def get(
    uri: Uri,
    target: Annotated[str | None, typer.Argument(metavar="[FILE|FOLDER|-]")] = None,
    recursive: Recursive = False,
) -> None:
    """Download an object, or with a glob or -r all that is selected into a folder."""
    with _writing(uri, target or "."):
        descriptor = descriptor_named(target or "")
    if descriptor is not None:
        _get_to_descriptor(uri, descriptor, recursive)
        return
    sweep_at_signals()
    with connect() as store:
        if Selection.parse(uri).is_single and not recursive:
            _get_one(store, uri, target)
        else:
            _get_all(store, uri, Path(target or "."), recursive)


def _get_to_descriptor(uri: str, descriptor: int, recursive: bool) -> None:
    if recursive or not Selection.parse(uri).is_single:
        raise InvalidArgument(
            "What -r or a glob selects goes into a folder; `manta cat 's3://BUCKET/**'` goes to stdout."
        )
    if descriptor == STDOUT:
        cat([uri])
        return
    with _writing(uri, f"descriptor {descriptor}"), open_in_order(descriptor) as out, connect() as store:
        _copy_out(store, uri, out)


def _get_one(store: Store, uri: str, target: str | None) -> None:
    """Into a folder, or to a file. A mistyped folder is not made in passing."""
    name = PurePosixPath(split_uri(uri)[1]).name
    path = Path(target or name)
    with _writing(uri, path):
        if not path.absolute().parent.is_dir():
            raise InvalidArgument(f"There is no folder {path.parent}: make it first.")
        path = path / name if path.is_dir() else path
    _download(store, store.stat(uri), path)


def _get_all(store: Store, uri: str, folder: Path, recursive: bool) -> None:
    base = Selection.parse(uri).prefix.rpartition("/")[0]
    entries = list(below(store, uri) if recursive else store.list_objects(uri))
    if not entries:
        raise NoSuchKey(f"Nothing lies at {uri}.")
    with _writing(uri, folder):
        found = [(entry, _inside(folder, entry.key, base)) for entry in entries]
        files = ((entry.uri, str(_where(path))) for entry, path in found if not _is_folder(entry))
        _refuse_twins(files, "get one of them by itself")
    _side_by_side("get", [partial(_download, store, *pair) for pair in found])


def _where(path: Path) -> Path:
    """Without the detours of its folder's name. The file's own may be a link: it is replaced."""
    return Path(os.path.realpath(path.parent), path.name)


def _is_folder(entry: ObjectInfo) -> bool:
    """An empty object whose key ends in `/` is what other programs make of a folder."""
    return entry.key.endswith("/") and not entry.size


def _inside(folder: Path, key: str, base: str) -> Path:
    """Where a key goes below `folder`; a key like `../x` must not lead out of it."""
    path = folder / key.removeprefix(base).lstrip("/")
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise BadRequest(f"The key {key!r} would lead out of {folder}: get it by itself, with a file name.")
    return path


def _download(store: Store, entry: ObjectInfo, path: Path) -> None:
    with _writing(entry.uri, path):
        if _is_folder(entry):
            path.mkdir(parents=True, exist_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        _download_to(store, entry, path)


@contextmanager
def _writing(uri: str, path: Path | str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidArgument(f"{uri} cannot be written to {path}: {error.strerror}.") from None


def _download_to(store: Store, entry: ObjectInfo, path: Path) -> None:
    """As a whole; into a pipe or a device as it comes."""
    if path.exists() and not path.is_file():
        with InOrder(path, "wb") as stream:
            _fill(stream, store, entry)
        return
    with becoming(path) as file:
        _fill(file, store, entry)


def _fill(file: BinaryIO, store: Store, entry: ObjectInfo) -> None:
    with output.transfer(entry.uri, entry.size) as progress:
        store.download(entry.uri, file, progress=progress)


def cat(uris: Annotated[list[str], typer.Argument(metavar="s3://BUCKET/KEY…", autocompletion=complete_uri)]) -> None:
    """Write objects to stdout, one after another."""
    with open_in_order(STDOUT) as out, connect() as store:
        for uri in uris:
            found = False
            for name in [uri] if Selection.parse(uri).is_single else (entry.uri for entry in store.list_objects(uri)):
                found = True
                _copy_out(store, name, out)
            if not found:
                raise NoSuchKey(f"Nothing lies at {uri}.")


def _copy_out(store: Store, uri: str, out: BinaryIO) -> None:
    for chunk in store.stream(uri):
        out.write(chunk)
