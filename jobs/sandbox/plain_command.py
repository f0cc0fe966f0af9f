"""Which commands mean the same with and without a shell, as `make` decides it: those are executed at once. Pure.

A shell would find the program on PATH and become it, after a millisecond of its own. Where the program is not found
after all, the fork server still asks the shell, whose words the user knows.
"""

import re
from collections.abc import Mapping
from typing import Final

PLAIN_MAX_BYTES: Final = 1024
"""forkserver.c has room for the words of this much."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9_./+-][A-Za-z0-9_./+,:@%-]*(?: +[A-Za-z0-9_./+,:@%=-]+)*")

_WORDS: Final = """
. : alias bg bind break builtin caller case cd chdir command compgen complete compopt continue coproc declare dirs
disown do done echo elif else enable esac eval exec exit export fc fg fi for function getopts hash help history if
in jobs kill let local logout mapfile popd printf pushd pwd read readarray readonly return select set shift shopt
source suspend test then time times trap type typeset ulimit umask unalias unset until wait while
"""
_OF_THE_SHELL: Final = frozenset(_WORDS.split())
"""Words of bash, dash or busybox that are no program, or differ from the program of that name.

`true` and `false` are missing: a program and a word of the shell, and the same.
"""

_CHANGES_THE_SHELL: Final = ("BASH", "ENV", "SHELLOPTS", "POSIXLY_CORRECT")
"""Variables of these beginnings make a shell do something before its command."""


def is_plain(command: str, environment: Mapping[str, str]) -> bool:
    """Whether `command` is a program of no shell's own and words that no shell would change."""
    if len(command) > PLAIN_MAX_BYTES or _PLAIN.fullmatch(command) is None:
        return False
    if command.partition(" ")[0] in _OF_THE_SHELL:
        return False
    return not any(name.startswith(_CHANGES_THE_SHELL) for name in environment)
