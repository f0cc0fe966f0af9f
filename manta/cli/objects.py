"""`manta mb rb ls rm cp find stat sign`: objects from the command line; `transfers` has put, get and cat."""

import fnmatch
from collections.abc import Iterable
from itertools import islice
from pathlib import PurePosixPath
from typing import Annotated

import typer

from jobs.model.units import parse_size
from manta.cli import output
from manta.cli.uris import Bucket, Json, Recursive, Uri, below, complete_uri
from manta.core.errors import InvalidArgument, NoSuchKey
from manta.core.limits import DELETE_BATCH_MAX, OBJECT_MAX_BYTES
from manta.core.names import split_uri
from manta.sdk import ObjectInfo, Store, connect
from manta.sdk.objects import Selection


def _bucket(text: str) -> str:
    bucket, key = split_uri(text if "://" in text else f"s3://{text}")
    if key:
        raise InvalidArgument(f"A bucket is wanted, not an object: s3://{bucket}")
    return bucket


def mb(bucket: Bucket) -> None:
    """Make a bucket."""
    with connect() as store:
        store.make_bucket(_bucket(bucket))


def rb(bucket: Bucket) -> None:
    """Remove an empty bucket."""
    with connect() as store:
        store.remove_bucket(_bucket(bucket))


def ls(
    uri: Annotated[str | None, typer.Argument(autocompletion=complete_uri, metavar="[s3://BUCKET[/PREFIX]]")] = None,
    recursive: Recursive = False,
    json: Json = False,
) -> None:
    """List buckets, or what lies below a prefix; a glob lists what it matches."""
    with connect() as store:
        if uri is None:
            for name in store.buckets():
                output.json_line({"bucket": name}) if json else output.line(f"s3://{name}")
        elif recursive or Selection.parse(uri).pattern is not None:
            _print_objects(below(store, uri) if recursive else store.list_objects(uri), json)
        else:
            _print_folder(store, uri, json)


def _print_folder(store: Store, uri: str, json: bool) -> None:
    bucket, key = split_uri(uri)
    if key and not key.endswith("/"):
        prefixes, _ = store.list_folder(uri)
        if f"{key}/" in prefixes:
            uri += "/"
    prefixes, objects = store.list_folder(uri)
    if key and not prefixes and not objects:
        raise NoSuchKey(f"Nothing lies at {uri}.")
    for prefix in prefixes:
        output.json_line({"prefix": prefix}) if json else output.line(f"{'':>31}  s3://{bucket}/{prefix}")
    _print_objects(objects, json)


def _print_objects(objects: Iterable[ObjectInfo], json: bool) -> None:
    for entry in objects:
        if json:
            output.json_line(_as_json(entry))
        else:
            output.line(f"{output.time_text(entry.modified)}  {output.size_text(entry.size):>10}  {entry.uri}")


def _as_json(entry: ObjectInfo) -> dict[str, object]:
    return {
        "bucket": entry.bucket,
        "key": entry.key,
        "size": entry.size,
        "etag": entry.etag,
        "modified": entry.modified.isoformat(),
    }


def rm(
    uris: Annotated[list[str], typer.Argument(metavar="s3://BUCKET/KEY…", autocompletion=complete_uri)],
    recursive: Recursive = False,
) -> None:
    """Delete objects: keys, globs, or with -r everything below a prefix."""
    with connect() as store:
        for uri in uris:
            selection = Selection.parse(uri)
            if selection.is_single and not recursive:
                store.remove(uri)
                continue
            if selection.pattern is None and not recursive:
                raise InvalidArgument(f"{uri} is a prefix: add -r to delete everything below it.")
            keys = (entry.key for entry in (below(store, uri) if recursive else store.list_objects(uri)))
            while batch := list(islice(keys, DELETE_BATCH_MAX)):
                store.remove_many(selection.bucket, batch)


def cp(source: Uri, target: Uri) -> None:
    """Copy an object inside the store; its bytes are not copied."""
    bucket, key = split_uri(target)
    if not key or key.endswith("/"):
        target = f"s3://{bucket}/{key}{PurePosixPath(split_uri(source)[1]).name}"
    with connect() as store:
        store.copy(source, target)


def find(
    uri: Uri,
    name: Annotated[str | None, typer.Option(help="Glob that the last part of the key matches.")] = None,
    larger: Annotated[str | None, typer.Option(help="At least so many bytes: 500, 10K, 5M, 1G.")] = None,
    smaller: Annotated[str | None, typer.Option(help="At most so many bytes.")] = None,
    json: Json = False,
) -> None:
    """Print the URIs below a prefix that fit, ready for `manta job add`."""
    least = 0 if larger is None else parse_size(larger, "--larger")
    most = OBJECT_MAX_BYTES if smaller is None else parse_size(smaller, "--smaller")
    with connect() as store:
        for entry in below(store, uri):
            last = entry.key.rpartition("/")[2]
            if name is not None and not fnmatch.fnmatchcase(last, name):
                continue
            if not least <= entry.size <= most:
                continue
            output.json_line(_as_json(entry)) if json else output.line(entry.uri)


_STAT_FIELDS = {
    "ContentLength": "size",
    "ETag": "etag",
    "LastModified": "modified",
    "ContentType": "content-type",
    "ContentEncoding": "content-encoding",
    "CacheControl": "cache-control",
    "Metadata": "metadata",
}


def stat(uri: Uri, json: Json = False) -> None:
    """Show what the store knows of an object."""
    with connect() as store:
        answer = store.head(uri)
    known = {name: answer[field] for field, name in _STAT_FIELDS.items() if answer.get(field)}
    if json:
        output.json_line({"uri": uri, **known})
        return
    for name, value in known.items():
        output.line(f"{name:<18}{value}")


def sign(
    uri: Uri,
    method: Annotated[str, typer.Option(help="GET, PUT, HEAD or DELETE.")] = "GET",
    expires: Annotated[int, typer.Option(min=1, max=604800, help="Seconds.")] = 3600,
) -> None:
    """Print a URL that works without keys."""
    if method not in ("GET", "PUT", "HEAD", "DELETE"):
        raise InvalidArgument(f"--method is GET, PUT, HEAD or DELETE, not {method}.")
    with connect() as store:
        output.line(store.sign(uri, method=method, expires_s=expires))
