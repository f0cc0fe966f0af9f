"""The `manta` command: its sub-commands, and how errors reach the user and the shell."""

import importlib
import sys

import typer

from manta.cli.exit_codes import exit_code
from manta.core.errors import MantaError

_SERVER_COMMANDS = {
    "serve": "manta.cli.serve:serve",
    "gateway": "manta.cli.gateway:gateway",
    "node": "manta.cli.node:node",
}


def build(arguments: list[str]) -> typer.Typer:
    """The application. Server commands are imported only when asked for: a client must start quickly."""
    app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich", help=__doc__)
    wanted = next((argument for argument in arguments if not argument.startswith("-")), None)
    for name, target in _SERVER_COMMANDS.items():
        if wanted in (name, None):
            module, _, function = target.partition(":")
            app.command(name)(getattr(importlib.import_module(module), function))
    return app


def main() -> None:
    """Entry point. One sentence for an error, an exit code from docs/reference.md, no traceback."""
    try:
        build(sys.argv[1:])()
    except MantaError as error:
        print(f"manta: {error.message}", file=sys.stderr)
        sys.exit(exit_code(error))


if __name__ == "__main__":
    main()
