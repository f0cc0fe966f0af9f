"""The client's way to one store: objects through boto3's well-worn paths, jobs through the JSON API."""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NoReturn, Unpack

import boto3
import botocore.exceptions
import msgspec
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

from manta.core.errors import BucketAlreadyOwnedByYou, InvalidArgument, NotFound
from manta.core.names import split_uri
from manta.sdk.failures import ended
from manta.sdk.jobs import Job, JobStatus
from manta.sdk.objects import ObjectInfo, Objects, Selection
from manta.sdk.results import values_of
from manta.sdk.session import Session, find_session
from manta.sdk.transport import Asked, Transport, once, translated
from manta.sdk.websocket import WebSocket

_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""Characters that no XML can contain (XML 1.0, 2.2)."""
Progress = Callable[[int], None]
"""Told how many more bytes have been moved."""


def connect(url: str | None = None, access_key: str | None = None, secret_key: str | None = None) -> "Store":
    """A client by the rules of `find_session`: arguments, environment, AWS chain, the store last started here."""
    return Store(find_session(url, access_key, secret_key))


class Store:
    """Objects and jobs of one store. Safe to share between threads; `close` it, or use it as a context."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._transport = Transport(session)
        self._s3: Any = boto3.client(
            "s3",
            endpoint_url=session.url,
            aws_access_key_id=session.access_key,
            aws_secret_access_key=session.secret_key,
            region_name=session.region,
            verify=session.ca_bundle,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                retries={"max_attempts": 6, "mode": "standard"},
            ),
        )

    def __reduce__(self) -> NoReturn:
        """A function that is sent to tasks must not carry the keys along (S7)."""
        raise TypeError("a Store is not packed: it holds your keys, and tasks have no network")

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._s3.close()
        self._transport.close()

    @property
    def s3(self) -> Any:
        """The boto3 client, for whatever this class does not wrap."""
        return self._s3

    def buckets(self) -> list[str]:
        with translated("The list of buckets"):
            return [bucket["Name"] for bucket in self._s3.list_buckets()["Buckets"]]

    def make_bucket(self, bucket: str, *, exist_ok: bool = False) -> None:
        try:
            with translated(f"Bucket {bucket}"):
                self._s3.create_bucket(Bucket=bucket)
        except BucketAlreadyOwnedByYou:
            if not exist_ok:
                raise

    def remove_bucket(self, bucket: str) -> None:
        with translated(f"Bucket {bucket}"):
            self._s3.delete_bucket(Bucket=bucket)

    def objects(self, *uris: str) -> Objects:
        """A lazy selection: keys, prefixes (`…/`) and globs."""
        return Objects(self, uris)

    def list_objects(self, uri: str) -> Iterator[ObjectInfo]:
        """The objects that a key, prefix or glob selects, by key."""
        selection = Selection.parse(uri)
        if selection.is_single:
            yield self.stat(uri)
            return
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=selection.bucket, Prefix=selection.prefix)
        with translated(uri):
            for page in pages:
                for entry in page.get("Contents", ()):
                    if selection.matches(entry["Key"]):
                        yield _listed(selection.bucket, entry)

    def list_folder(self, uri: str) -> tuple[list[str], list[ObjectInfo]]:
        """The prefixes and the objects directly below a prefix."""
        bucket, prefix = split_uri(uri)
        prefixes: list[str] = []
        objects: list[ObjectInfo] = []
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
        with translated(uri):
            for page in pages:
                prefixes += [entry["Prefix"] for entry in page.get("CommonPrefixes", ())]
                objects += [_listed(bucket, entry) for entry in page.get("Contents", ())]
        return prefixes, objects

    def head(self, uri: str) -> dict[str, Any]:
        """Everything HEAD tells, as boto3 gives it."""
        bucket, key = split_uri(uri)
        with translated(uri):
            answer: dict[str, Any] = self._s3.head_object(Bucket=bucket, Key=key)
            return answer

    def stat(self, uri: str) -> ObjectInfo:
        bucket, key = split_uri(uri)
        answer = self.head(uri)
        return ObjectInfo(bucket, key, answer["ContentLength"], answer["ETag"].strip('"'), answer["LastModified"])

    def exists(self, uri: str) -> bool:
        try:
            self.head(uri)
        except NotFound:
            return False
        return True

    def write(self, uri: str, data: bytes, **parameters: Any) -> None:
        """Put a whole object; `parameters` are boto3's (ContentType=…, Metadata=…, IfNoneMatch="*")."""
        bucket, key = split_uri(uri)
        with translated(uri):
            self._s3.put_object(Bucket=bucket, Key=key, Body=data, **parameters)

    def read(self, uri: str) -> bytes:
        """A whole object."""
        return b"".join(self.stream(uri))

    def stream(self, uri: str, chunk_bytes: int = 1024 * 1024) -> Iterator[bytes]:
        """The object's bytes, piece by piece."""
        with self._body(uri) as body:
            yield from body.iter_chunks(chunk_bytes)

    @contextlib.contextmanager
    def reader(self, uri: str) -> Iterator[Callable[[int], bytes]]:
        """A function that reads the next bytes of the object, at most so many; none at its end."""
        with self._body(uri) as body:
            yield body.read

    @contextlib.contextmanager
    def _body(self, uri: str) -> Iterator[Any]:
        bucket, key = split_uri(uri)
        with translated(uri), contextlib.closing(self._s3.get_object(Bucket=bucket, Key=key)["Body"]) as body:
            yield body

    def upload(self, source: BinaryIO, uri: str, *, progress: Progress | None = None, **parameters: Any) -> None:
        """A file or stream of any length; large ones go up in parallel parts."""
        bucket, key = split_uri(uri)
        with translated(uri):
            self._s3.upload_fileobj(
                source, bucket, key, ExtraArgs=parameters or None, Callback=progress, Config=TransferConfig()
            )

    def download(self, uri: str, target: BinaryIO, *, progress: Progress | None = None) -> None:
        """Into a file, in parallel ranges of one version."""
        bucket, key = split_uri(uri)
        with translated(uri):
            self._s3.download_fileobj(bucket, key, target, Callback=progress)

    def copy(self, source: str, target: str) -> None:
        """On the store's side, by reference where it can be."""
        from_bucket, from_key = split_uri(source)
        bucket, key = split_uri(target)
        with translated(f"{source} → {target}"):
            self._s3.copy_object(Bucket=bucket, Key=key, CopySource={"Bucket": from_bucket, "Key": from_key})

    def remove(self, uri: str) -> None:
        bucket, key = split_uri(uri)
        with translated(uri):
            self._s3.delete_object(Bucket=bucket, Key=key)

    def remove_many(self, bucket: str, keys: Sequence[str]) -> None:
        """Up to 1,000 keys, those that XML has words for in one call."""
        together = [key for key in keys if not _NOT_XML.search(key)]
        for key in filter(_NOT_XML.search, keys):
            self.remove(f"s3://{bucket}/{key}")
        if not together:
            return
        with translated(f"Bucket {bucket}"):
            answer = self._s3.delete_objects(
                Bucket=bucket, Delete={"Objects": [{"Key": key} for key in together], "Quiet": True}
            )
            for failure in answer.get("Errors", ()):
                raise botocore.exceptions.ClientError({"Error": failure}, "DeleteObjects")

    def sign(self, uri: str, *, method: str = "GET", expires_s: int = 3600) -> str:
        """A URL that works without keys for that long."""
        bucket, key = split_uri(uri)
        operation = {"GET": "get_object", "PUT": "put_object", "HEAD": "head_object", "DELETE": "delete_object"}[method]
        url: str = self._s3.generate_presigned_url(operation, {"Bucket": bucket, "Key": key}, ExpiresIn=expires_s)
        return url

    def submit(
        self,
        phases: Sequence[Mapping[str, object]] | Mapping[str, Any],
        *,
        inputs: Sequence[str | Mapping[str, object]] = (),
        end: bool | None = None,
        properties: Mapping[str, object] | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Create a job from its phases, or from a whole document; `properties` are its others (name, output, …).

        `inputs` and `properties` add to a document. Without `end` no more inputs come, or what the document says.
        Calls with the same `idempotency_key` and document give the same job; without one, each call makes a job.
        """
        given = {name: value for name, value in (properties or {}).items() if value is not None}
        if isinstance(phases, Mapping):
            document = {**phases, **given}
        else:
            document = {"phases": list(phases), "inputs": [], "end": True, **given}
        if inputs:
            document["inputs"] = [*document.get("inputs", ()), *inputs]
        if end is not None:
            document["end"] = end
        answer = self._transport.json("POST", "/jobs", body=document, headers=once(idempotency_key))
        return Job(self._transport, answer["id"])

    def explain(
        self,
        phases: Sequence[Mapping[str, object]],
        *,
        inputs: Sequence[str | Mapping[str, object]] = (),
        properties: Mapping[str, object] | None = None,
    ) -> dict[str, Any]:
        """What such a job would do: inputs, bytes, tasks of each phase and node. Nothing is run."""
        given = {name: value for name, value in (properties or {}).items() if value is not None}
        document = {"phases": list(phases), "inputs": list(inputs), **given}
        answer: dict[str, Any] = self._transport.json("POST", "/jobs/explain", body=document)
        return answer

    def values(self, job: Job | str, *, partial: bool = False, unpickle: bool | None = None) -> Iterator[Any]:
        """The values that a job of Python functions made, once it has ended.

        JobFailedError if an input failed, but with `partial`, which gives the values of the others. A pickle runs what
        its writer likes, here and with your rights: unless told, those of your own jobs alone are unpickled.
        """
        job = self.job(job) if isinstance(job, str) else job
        status = job.wait() if partial else ended(job).status()
        if not status.phases or not status.phases[-1].program:
            raise InvalidArgument(f"Job {job.id} ends with a command, whose outputs are no values: read them.")
        if unpickle is None:
            unpickle = status.owner == self.api("GET", "/usage")["account"]
        return values_of(self, job, unpickle=unpickle)

    def job(self, job_id: str) -> Job:
        """An existing job; it is not asked for before you use it."""
        return Job(self._transport, job_id)

    def jobs(self, *, state: str | None = None, name: str | None = None, limit: int = 100) -> list[JobStatus]:
        """Your jobs, newest first."""
        content = self._transport.call("GET", "/jobs", query={"state": state, "name": name, "limit": limit})
        return [msgspec.json.decode(line, type=JobStatus) for line in content.splitlines() if line]

    def login(self, query: Mapping[str, str]) -> WebSocket:
        """An interactive session (docs/reference.md has its parameters): `manta login` is what speaks with it."""
        return self._transport.websocket("/login", query)

    def api(self, method: str, path: str, **options: Unpack[Asked]) -> Any:
        """A signed call below /_manta/v1, see docs/reference.md; of NDJSON a list, of what is no JSON its bytes."""
        return self._transport.json(method, path, **options)


def _listed(bucket: str, entry: Mapping[str, Any]) -> ObjectInfo:
    return ObjectInfo(bucket, entry["Key"], entry["Size"], entry["ETag"].strip('"'), entry["LastModified"])
