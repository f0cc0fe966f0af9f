"""Which arguments may be no UTF-8: names of local files alone. Pure."""

from collections.abc import Iterator, Sequence

from manta.core.errors import InvalidArgument

_TAKE_FILES = frozenset({"put", "get", "serve", "gateway", "node", "doctor", "backup", "restore", "restored", "fsck"})
_FILE_OPTION = "--file"
_SHOWN_BYTES = 80


def refuse_no_utf8(arguments: Sequence[str]) -> None:
    """InvalidArgument for one that the store could not be told; Python holds its odd bytes as surrogates."""
    takes_files = bool(arguments) and arguments[0] in _TAKE_FILES
    for argument in _not_files(arguments):
        if argument.isascii() or _is_utf8(argument) or (takes_files and not argument.startswith("s3://")):
            continue
        shown = argument.encode(errors="surrogateescape")[:_SHOWN_BYTES]
        raise InvalidArgument(f"An argument is no UTF-8, as keys and commands are: {shown!r}.")


def _not_files(arguments: Sequence[str]) -> Iterator[str]:
    """Without the names of job documents."""
    for before, argument in zip(("", *arguments), arguments, strict=False):
        if before != _FILE_OPTION and not argument.startswith(f"{_FILE_OPTION}="):
            yield argument


def _is_utf8(argument: str) -> bool:
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True
