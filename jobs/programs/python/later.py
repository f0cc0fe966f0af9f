"""Modules that cloudpickle imports at its start and seldom uses: each is imported when something of it is used.

They cost a task about a fifth of its start.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
else:
    ModuleType = type(sys)  # without importing types

NAMES = ("dataclasses", "dis", "inspect", "logging", "typing", "uuid")


class _Later(ModuleType):
    """Stands for a module, for those who imported it meanwhile."""

    def __getattr__(self, name: str) -> object:
        module = str(self.__name__)
        if isinstance(sys.modules.get(module), _Later):
            del sys.modules[module]
        return getattr(__import__(module), name)


def settle() -> None:
    """Who imports them from now on gets the modules themselves."""
    for name in NAMES:
        if isinstance(sys.modules.get(name), _Later):
            del sys.modules[name]


for _name in NAMES:
    sys.modules.setdefault(_name, _Later(_name))
