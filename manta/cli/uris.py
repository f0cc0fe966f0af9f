"""What commands on objects take: URIs, which the shell completes, and what lies below one."""

from collections.abc import Iterator
from typing import Annotated

import typer

from manta.core.names import split_uri
from manta.sdk import ObjectInfo, Store, connect
from manta.sdk.objects import Selection

Json = Annotated[bool, typer.Option("--json", help="JSON lines.")]
Recursive = Annotated[bool, typer.Option("-r", "--recursive", help="Everything below.")]


def complete_uri(incomplete: str) -> list[str]:
    """Buckets and keys for the shell; silent when the store is away."""
    try:
        with connect() as store:
            if incomplete.count("/") < 3:
                return [f"s3://{name}/" for name in store.buckets() if f"s3://{name}/".startswith(incomplete)]
            folder = incomplete[: incomplete.rindex("/") + 1]
            bucket, _ = split_uri(folder)
            prefixes, objects = store.list_folder(folder)
            found = [f"s3://{bucket}/{prefix}" for prefix in prefixes] + [entry.uri for entry in objects]
            return [uri for uri in found if uri.startswith(incomplete)]
    except Exception:
        return []


Uri = Annotated[str, typer.Argument(autocompletion=complete_uri, metavar="s3://BUCKET/KEY", show_default=False)]
Bucket = Annotated[str, typer.Argument(metavar="s3://BUCKET", show_default=False)]


def below(store: Store, uri: str) -> Iterator[ObjectInfo]:
    """Everything under a prefix, whether or not it was written with its last slash."""
    selection = Selection.parse(uri)
    return store.list_objects(uri.rstrip("/") + "/" if selection.is_single else uri)
