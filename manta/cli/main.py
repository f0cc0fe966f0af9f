"""The `manta` command: its sub-commands, and how errors reach the user and the shell."""

import errno
import importlib
import os
import sys
import tempfile
import traceback
from typing import Annotated, Any, TextIO

import typer

from manta import __version__
from manta.cli.closed_terminal import is_closed, said_by_closed
from manta.cli.completion import use_own_script
from manta.cli.exit_codes import FAILED, INTERRUPTED, exit_code
from manta.cli.named_files import refuse_no_utf8
from manta.cli.plain import plain
from manta.core.errors import MantaError

_COMMANDS = {
    "serve": "manta.cli.serve:serve",
    "gateway": "manta.cli.gateway:gateway",
    "node": "manta.cli.node:node",
    "hello": "manta.cli.hello:hello",
    "nodes": "manta.cli.nodes:nodes",
    "doctor": "manta.cli.doctor:doctor",
    "login": "manta.cli.login:login",
    "backup": "manta.cli.catalog:backup",
    "restore": "manta.cli.catalog:restore",
    "restored": "manta.cli.catalog:restored",
    "fsck": "manta.cli.catalog:fsck",
    **{name: f"manta.cli.objects:{name}" for name in ("mb", "rb", "ls")},
    **{name: f"manta.cli.transfers:{name}" for name in ("put", "get", "cat")},
    **{name: f"manta.cli.objects:{name}" for name in ("rm", "cp", "find", "stat", "sign")},
}
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_GROUPS = {"job": "manta.cli.job:app", "account": "manta.cli.account:app"}


def build(arguments: list[str]) -> typer.Typer:
    """The application with the wanted command alone, where one is named: a client must start quickly."""
    app = typer.Typer(
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
        help="A compute-on-storage object store: put objects, run map/reduce jobs where they lie.",
    )
    use_own_script()
    wanted = arguments[0] if arguments else None
    known = wanted in _COMMANDS or wanted in _GROUPS
    for name, target in _COMMANDS.items():
        if not known or name == wanted:
            app.command(name)(_load(target))
    for name, target in _GROUPS.items():
        if not known or name == wanted:
            app.add_typer(_load(target), name=name)
    app.callback(invoke_without_command=True)(_root)
    return app


def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    """With a callback, Typer keeps the command's name even when it is the only one."""
    if version:
        print(f"manta {__version__}")
        raise typer.Exit


def _load(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def main() -> None:
    """Entry point. One sentence for an error, an exit code from docs/reference.md, no traceback."""
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()
    try:
        try:
            refuse_no_utf8(sys.argv[1:])
            build(sys.argv[1:])()
        finally:
            sys.stdout.flush()  # what cannot be written is told here, not by the interpreter as it ends
    except MantaError as error:
        _tell(plain(error.message))
        sys.exit(exit_code(error))
    except BrokenPipeError:
        _leave(sys.stdout)
        sys.exit(FAILED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        if isinstance(error.__cause__, KeyboardInterrupt):  # Python 3.11's word for one while a class is being made
            sys.exit(INTERRUPTED)
        if isinstance(error, OSError) and error.errno in _FULL:
            _leave(sys.stdout)
            _tell(f"{error.filename or 'stdout'} cannot be written: {error.strerror}.")
        elif said_by_closed(error) and any(map(is_closed, range(3))):
            _leave(sys.stdout)
            _leave(sys.stderr)
        else:
            _tell(f"a defect of manta itself: {error!r}. Its stack is in {_keep_stack()}.")
        sys.exit(FAILED)


def _nowhere() -> TextIO:
    """For what the shell closed (`>&-`): nobody wants to hear it."""
    return os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")


def _tell(text: str) -> None:
    """On stderr, if anybody is there still: the exit code says it also to who has gone."""
    try:
        print(f"manta: {text}", file=sys.stderr)
    except OSError:
        _leave(sys.stderr)


def _leave(stream: TextIO) -> None:
    """What is still to be written to it goes nowhere, instead of failing once more as the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _keep_stack() -> str:
    """Where the stack of the error at hand was written."""
    with tempfile.NamedTemporaryFile("w", prefix="manta-", suffix=".trace", delete=False) as file:
        file.write(traceback.format_exc())
    return file.name


if __name__ == "__main__":
    main()
