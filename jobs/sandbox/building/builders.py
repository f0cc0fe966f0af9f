"""What builds a node's zones, as its configuration says: bubblewrap, or an OCI runtime of the site's choice."""

import os
import shutil
from dataclasses import dataclass
from typing import Final

from manta.core.errors import InvalidArgument, SandboxUnavailable

KINDS: Final = ("bubblewrap", "oci")
DEFAULT_RUNTIME: Final = "runc"
_BUBBLEWRAP: Final = "bwrap"
_ADMINS_PATH: Final = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where runtimes lie, and ordinary users' PATH does not lead."""


@dataclass(frozen=True, slots=True)
class BuilderChoice:
    """`kind` is one of KINDS; `program` a path, or a name to be found."""

    kind: str
    program: str

    @property
    def name(self) -> str:
        return "bubblewrap" if self.kind == "bubblewrap" else f"OCI runtime {self.program}"

    @property
    def remedy(self) -> str:
        if self.kind == "bubblewrap":
            return "Install the package `bubblewrap`, 0.8 or later."
        return f"Install the package `{DEFAULT_RUNTIME}`, or name another runtime with --runtime."

    def find(self) -> str | None:
        """The program's path, if there is one."""
        if self.kind == "bubblewrap":
            return shutil.which(self.program)
        return shutil.which(self.program, path=f"{os.environ.get('PATH', os.defpath)}:{_ADMINS_PATH}")

    def require(self) -> str:
        """SandboxUnavailable when it is not there."""
        path = self.find()
        if path is None:
            raise SandboxUnavailable(f"No sandbox can be built: there is no {self.program}. {self.remedy}")
        return path


BUBBLEWRAP: Final = BuilderChoice("bubblewrap", _BUBBLEWRAP)


def builder_choice(kind: str, runtime: str | None = None) -> BuilderChoice:
    """As configured. InvalidArgument for what makes no sense."""
    if kind not in KINDS:
        raise InvalidArgument(f"There is no sandbox {kind!r}: choose {' or '.join(KINDS)}.")
    if kind == "bubblewrap":
        if runtime:
            raise InvalidArgument("A runtime is for the sandbox oci alone: add --sandbox oci.")
        return BUBBLEWRAP
    return BuilderChoice("oci", runtime or DEFAULT_RUNTIME)
