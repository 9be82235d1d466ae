"""The layering, read from the source: who may import whom, and who may print."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import photoage

PACKAGE = Path(photoage.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# What the stages, and what they stand on, may import from photoage. Modules that are not here compose
# stages (the scan, training) and may import what they need, but never the command line.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "records": set(),
    "filesystem": set(),
    "remote": {"records", "errors"},
    "walk": {"remote", "records", "errors"},
    "watch": {"walk", "filesystem", "records"},
    "decode": {"records", "errors"},
    "digest": set(),
    "scrfd": {"records"},
    "merge_convs": set(),
    "detect": {"digest", "merge_convs", "scrfd", "records", "errors"},
    "detect_server": {"detect", "records", "errors"},
    "align": {"records", "errors"},
    "checkpoint": {"align", "errors"},
    "evaluate": {"records", "errors"},
    "int8": {"records", "errors"},
    "age_model": {"checkpoint", "digest", "evaluate", "int8", "records", "errors"},
    "pool": {"errors"},
    "dataset": {"align", "decode", "detect", "pool", "reader", "records", "errors"},
    "augment": {"align", "dataset", "records"},
    "data": {"augment", "dataset", "decode", "align", "records", "errors"},
    "tables": {"errors"},
    "sqlite": {"errors"},
    "postgres": {"tables", "errors"},
    "dialect": {"sqlite", "postgres", "tables", "errors"},
    "db": {"dialect", "sqlite", "tables", "filesystem", "errors"},
    "known": {"db", "tables", "records", "errors"},
    "store": {"known", "dialect", "db", "tables", "records", "errors"},
    "stats": {"db", "tables", "errors"},
    "patterns": {"dialect", "remote", "tables"},
    "query": {"dialect", "patterns", "db", "tables", "stats", "records", "errors"},
    "writers": {"query", "records", "errors"},
    "tabular": {"db", "query", "errors"},
    "models": {"checkpoint", "detect", "digest", "errors"},
    "scanned_file": {"db"},
    "whole_file": set(),
    "sidecar_orientation": {"decode", "errors"},
    "sidecar_xmp": {"sidecar_orientation", "query", "writers", "errors"},
}

# Libraries that only these modules use, so that each can be replaced, or left unloaded, as one.
ONLY_IN = {
    "insightface": {"detect"},
    "onnx": {"distill", "merge_convs", "quantise"},
    "onnxruntime": {"detect", "distill", "doctor", "int8", "quantise"},
    "pillow_heif": {"decode", "doctor"},
    "alembic": {"db"},
    "lxml": {"sidecar_xmp"},
    "pyarrow": {"tabular"},
    "fsspec": {"remote"},
    "ray": {"ray_engine"},
    "watchdog": {"watch"},
    "rich": {"cli"},
    "click": {"cli"},
}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def top(path: Path) -> str:
    return name_of(path).split(".")[0]


def imports(path: Path) -> Iterator[str]:
    """Absolute names of everything that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            # `from photoage import db` imports the module photoage.db.
            yield from (f"{module}.{alias.name}" if module == "photoage" else module for alias in node.names)


def internal(path: Path) -> set[str]:
    """The photoage modules that a module imports, by their top name."""
    names = (name.split(".") for name in imports(path) if name.startswith("photoage."))
    return {parts[1] for parts in names if not parts[1].startswith("__")}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_imports_the_command_line(path: Path) -> None:
    assert top(path) == "cli" or "cli" not in internal(path)


@pytest.mark.parametrize("path", [p for p in MODULES if name_of(p) in MAY_IMPORT], ids=name_of)
def test_stages_do_not_import_each_other(path: Path) -> None:
    assert internal(path) <= MAY_IMPORT[name_of(path)]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_libraries_stay_where_they_belong(path: Path) -> None:
    used = {name.split(".")[0] for name in imports(path)}
    assert {
        library for library, homes in ONLY_IN.items() if library in used and top(path) not in homes
    } == set()


@pytest.mark.parametrize("path", [p for p in MODULES if top(p) != "cli"], ids=name_of)
def test_only_the_command_line_prints_and_exits(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"print", "exit", "quit", "input", "sys.exit"}, (
                f"{path}:{node.lineno}: {called}()"
            )
        if isinstance(node, ast.Raise) and node.exc is not None:
            assert not ast.unparse(node.exc).startswith("SystemExit"), f"{path}:{node.lineno}: SystemExit"
        if isinstance(node, ast.Attribute):
            assert ast.unparse(node) not in {"sys.stdout", "sys.stderr", "sys.argv"}, f"{path}:{node.lineno}"


def test_no_pickle_anywhere() -> None:
    users = {name_of(path) for path in MODULES if {"pickle", "shelve", "marshal"} & set(imports(path))}
    assert users == set()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_files_stay_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
