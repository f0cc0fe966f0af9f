"""Which commands are executed without a shell: those whose words no shell would change."""

import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.sandbox.plain_command import PLAIN_MAX_BYTES, is_plain


@pytest.mark.parametrize(
    "command", ["true", "wc -w", "grep -c --include=*.py x".replace("*", "a"), "/bin/cat", "sort -k2,2", "a/b  c"]
)
def test_a_program_with_plain_words_needs_no_shell(command: str) -> None:
    assert is_plain(command, {"PATH": "/bin", "LANG": "C"})


@pytest.mark.parametrize(
    "command",
    [
        "", " true", "true ", "a | b", "a; b", "a && b", "$X", "`a`", "a > b", "a *", "a ?", "[ a ]", "a ~", "X=1 a",
        "a 'b'", 'a "b"', "a \\b", "a\tb", "a\nb", "# a", "a #b", "! a", "{ a", "a {b,c}", "cd /", "echo a", "exit 3",
        "export A", "time a", "kill 1", "ä", "a" * (PLAIN_MAX_BYTES + 1),
    ],
)  # fmt: skip
def test_whatever_a_shell_reads_otherwise_goes_to_the_shell(command: str) -> None:
    assert not is_plain(command, {})


@pytest.mark.parametrize("name", ["BASH_ENV", "BASH_FUNC_true%%", "ENV", "SHELLOPTS", "BASHOPTS", "POSIXLY_CORRECT"])
def test_variables_that_change_the_shell_keep_it(name: str) -> None:
    assert not is_plain("true", {name: "x"})


@given(st.text(alphabet="ab=/.,:@%+-_~*?![]{}()<>|&;$`'\"\\# \t\n", min_size=1, max_size=20))
def test_the_words_of_a_plain_command_are_those_that_a_shell_makes_of_it(text: str) -> None:
    command = "printf '%s\\n' " + text
    if is_plain(text, {}):
        assert shlex.split(text) == text.split()
        said = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
        assert said.stdout.splitlines() == text.split()
