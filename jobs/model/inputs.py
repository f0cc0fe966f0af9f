"""What a job's inputs are written as, and which keys they match.

`s3://bucket/key` is one object. A key that ends in `/` (or is empty) is a prefix. A key with `*`, `?` or `[` is a
glob: `*` and `?` do not cross `/`, `**` does, `[a-z]` and `[!a-z]` are sets. An object whose key holds such a
character is named by `{"bucket": …, "key": …}`. With both `prefix` and `glob`, the glob is matched against what
follows the prefix. `where` (jobs.model.where) chooses among the objects of a prefix or glob.
"""

import re
from collections.abc import Mapping

import msgspec

from jobs.model.globs import compile_glob, literal_prefix
from jobs.model.properties import check_known
from jobs.model.where import Where, parse_where
from manta.core import names
from manta.core.errors import InvalidArgument, InvalidBucketName, InvalidURI, MantaError
from manta.core.limits import GLOB_MAX_CHARS, KEY_MAX_BYTES

_SPECIAL = re.compile(r"[*?\[]")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_KNOWN = ("bucket", "key", "prefix", "glob", "where")


class InputSpec(msgspec.Struct, frozen=True, omit_defaults=True, array_like=True):
    """One written input: exactly one object (`key`), or every object under `prefix` that matches `glob`.

    `malformed` holds what was written when it names nothing: it becomes an InvalidInput error of the job.
    """

    bucket: str
    key: str | None = None
    prefix: str = ""
    glob: str | None = None
    malformed: str | None = None
    where: Where | None = None

    @property
    def listing_prefix(self) -> str:
        """The longest prefix every matching key has."""
        return self.prefix + (literal_prefix(self.glob) if self.glob is not None else "")

    def matches(self, key: str) -> bool:
        """Whether that key, found in a listing, is meant."""
        if not key.startswith(self.prefix):
            return False
        return self.glob is None or compile_glob(self.glob).matches(key[len(self.prefix) :])


def parse_input(value: object) -> InputSpec:
    """The input written as a string or an object of the document. BadRequest; a bad name is a `malformed` input."""
    if isinstance(value, str):
        return _parse_uri(value)
    if isinstance(value, Mapping):
        return _parse_mapping(value)
    raise InvalidArgument(f"An input is written s3://bucket/key or as an object with `bucket`, not {value!r}.")


def as_object(uri: str) -> dict[str, object]:
    """What `s3://…` means, written as an object of the document. InvalidArgument when it names nothing."""
    spec = _parse_uri(uri)
    if spec.malformed is not None:
        raise InvalidArgument(why_malformed(uri))
    named = {"key": spec.key, "prefix": spec.prefix or None, "glob": spec.glob}
    return {"bucket": spec.bucket, **{name: text for name, text in named.items() if text is not None}}


def why_malformed(written: str) -> str:
    """Why it names no object, in one sentence: of a name that S3 does not allow, which rule it breaks."""
    try:
        names.split_uri(written)
    except InvalidBucketName as error:
        return f"{written!r} names no object: {error.message}"
    except MantaError:
        pass
    return f"{written!r} names no object: write s3://bucket/key."


def _parse_uri(uri: str) -> InputSpec:
    try:
        bucket, key = names.split_uri(uri)
        if _SPECIAL.search(key):
            return InputSpec(bucket, glob=_check_glob(key))
        if not key or key.endswith("/"):
            return InputSpec(bucket, prefix=_check_prefix(key))
        return InputSpec(bucket, key=names.check_key(key))
    except MantaError:
        return _malformed(uri)


def _check_glob(glob: str) -> str:
    if len(glob) > GLOB_MAX_CHARS:
        raise InvalidArgument(f"A glob has at most {GLOB_MAX_CHARS} characters.")
    if glob != _storable(glob):
        raise InvalidArgument("A glob is valid UTF-8 without NUL, as keys are.")
    return glob


def _check_prefix(prefix: str) -> str:
    return names.check_key(prefix) if prefix else prefix


def _malformed(written: str) -> InputSpec:
    """Its beginning is enough to recognise it by."""
    return InputSpec("", malformed=_storable(written[:KEY_MAX_BYTES]))


def _storable(text: str) -> str:
    """`text` with U+FFFD for what no column of text holds: NUL, and halves of surrogate pairs."""
    return _UNSTORABLE.sub("\ufffd", text)


def _parse_mapping(value: Mapping[object, object]) -> InputSpec:
    check_known(value, _KNOWN, (), "an input")
    fields = {str(name): text for name, text in value.items() if text is not None}
    where = fields.pop("where", None)
    for name, text in fields.items():
        if not isinstance(text, str):
            raise InvalidArgument(f"`{name}` of an input is a string, not {text!r}.")
    if "bucket" not in fields:
        raise InvalidArgument("An input written as an object needs `bucket`.")
    if "key" in fields and len(fields) > 2:
        raise InvalidArgument("An input has either `key`, or `prefix` and `glob`.")
    if "key" in fields and where is not None:
        raise InvalidArgument("`where` chooses among the objects of a `prefix` or `glob`: leave it out with a `key`.")
    chosen = None if where is None else parse_where(where)
    key = fields.get("key")
    try:
        names.check_bucket(str(fields["bucket"]))
        if key is not None:
            names.check_key(str(key))
        _check_prefix(str(fields.get("prefix", "")))
        _check_glob(str(fields.get("glob", "")))
    except (MantaError, InvalidURI):
        return _malformed(f"s3://{fields['bucket']}/{key or ''}")
    return InputSpec(
        str(fields["bucket"]),
        key=None if key is None else str(key),
        prefix=str(fields.get("prefix", "")),
        glob=None if "glob" not in fields else str(fields["glob"]),
        where=chosen,
    )
