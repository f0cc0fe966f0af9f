"""Which Python tasks are given, and what of the node's environment."""

import ast
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.model.program import PROGRAM_COMMAND, PROGRAM_FILE, PackedProgram
from jobs.programs import python_runtime
from jobs.programs.python import later
from jobs.programs.python_runtime import PythonRuntime

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def _program(version: str = HERE) -> PackedProgram:
    return PackedProgram("count", version, b"packed")


def test_the_nodes_own_python_and_libraries_are_found() -> None:
    runtime = python_runtime.python_runtime()
    assert runtime.version == HERE
    assert runtime.refusal(_program()) is None
    shown = {runtime.binds.get(site, Path(site)) for site in runtime.sites}
    libraries = [Path(path) for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    assert shown == {folder for folder in libraries if folder.is_dir() and python_runtime._is_open(folder)}


def test_another_version_is_refused_with_both_versions_and_both_ways_out() -> None:
    told = PythonRuntime("/usr/bin/python3", "3.12").refusal(_program("3.11"))
    assert told is not None
    assert "packed by Python 3.11" in told
    assert "Python 3.12" in told
    assert "image" in told


@pytest.mark.parametrize("compiled", [True, False])
def test_a_zone_holds_the_program_and_what_starts_it(compiled: bool) -> None:
    runtime = PythonRuntime("/usr/bin/python3", HERE, ("/manta/site-packages",))
    files = runtime.files(_program()) if compiled else runtime.files_in_image(_program())
    assert files[PROGRAM_FILE] == b"packed"
    assert files[PROGRAM_COMMAND].startswith(b"#!/usr/bin/python3 -IS\n" if compiled else b"#!/bin/sh\n")
    script = files[PROGRAM_COMMAND if compiled else "/manta/python/start"].decode()
    ast.parse(script)
    assert ("/manta/site-packages" in script) is compiled


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Unlike pytest's own, one that everybody may enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_libraries_in_a_folder_closed_to_others_are_not_shown(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under root, zones run as other users; a zone that could not be shown a folder would not start at all."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    libraries = open_folder / "closed" / "lib" / "site-packages"
    libraries.mkdir(parents=True)
    assert python_runtime._is_open(libraries)
    (open_folder / "closed").chmod(0o700)
    assert not python_runtime._is_open(libraries)
    assert python_runtime._sites([str(libraries), "/nowhere/site-packages", str(open_folder)]) == ((), {})


def test_what_is_imported_later_is_the_module_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    stand_in = later._Later("colorsys")
    monkeypatch.setitem(sys.modules, "colorsys", stand_in)
    assert stand_in.rgb_to_hsv is __import__("colorsys").rgb_to_hsv
    assert type(sys.modules["colorsys"]).__name__ == "module"
    monkeypatch.setitem(sys.modules, "colorsys", later._Later("colorsys"))
    monkeypatch.setattr(later, "NAMES", ("colorsys",))
    later.settle()
    assert "colorsys" not in sys.modules


@pytest.mark.invariant("S6")
def test_no_server_imports_what_unpickles() -> None:
    """The client and the task do; the contract in pyproject.toml keeps servers from them."""
    root = Path(python_runtime.__file__).parents[2]
    servers = ("manta/gateway", "manta/supervisor", "manta/catalog", "manta/auth", "manta/core", "storage_nodes")
    files = [
        file
        for folder in (*servers, "jobs/agent", "jobs/scheduler", "jobs/sandbox")
        for file in (root / folder).rglob("*.py")
    ]
    assert len(files) > 100
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {"pickle", "_pickle", "cloudpickle", "marshal", "shelve", "dill"} & {
                name.partition(".")[0] for name in names
            }, file
