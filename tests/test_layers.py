"""The layering, read from the source: who may import whom, and who may print."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import photoage

PACKAGE = Path(photoage.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

BASE = {"errors", "records", "paths", "files", "pool", "filesystem", "machine"}
# Packages in the order of the data, each with the packages that it may import beside the base. What is not
# here (models, doctor, cli) may import everything but the command line.
MAY_IMPORT: dict[str, set[str]] = {
    **{module: set() for module in BASE},
    "photos": set(),
    "database": set(),
    "faces": {"photos"},
    "ages": set(),
    "people": {"photos", "database", "faces"},  # names and birth dates also come from photos' metadata
    "scan": {"photos", "database", "faces", "ages", "people", "models"},
    "export": {"photos", "database", "faces"},
    "training": {"photos", "database", "faces", "ages", "scan"},
}

# Libraries that only these places use, so that each can be replaced, or left unloaded, as one.
ONLY_IN = {
    "insightface": {"faces"},
    "onnx": {"faces", "training"},
    "onnxruntime": {"faces", "ages", "training", "doctor"},
    "torch": {"ages", "scan.batches", "scan.ray_actors", "training", "doctor"},
    "pillow_heif": {"photos", "doctor"},
    "alembic": {"database"},
    "sqlalchemy": {"database", "people", "export", "cli"},
    "lxml": {"export"},
    "pyarrow": {"export"},
    "fsspec": {"photos"},
    "ray": {"scan.ray_engine"},
    "usearch": {"people"},
    "watchdog": {"photos"},
    "rich": {"cli"},
    "click": {"cli"},
}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(tree(path)))


def imports(path: Path) -> Iterator[str]:
    """Absolute names of everything that a module imports, wherever in it."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            # `from photoage.photos import remote` imports the module photoage.photos.remote.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_packages_import_only_what_comes_before_them() -> None:
    wrong = []
    for path in MODULES:
        package = name_of(path).split(".")[0]
        allowed = MAY_IMPORT.get(package)
        for name in imports(path):
            target = name.split(".")[1] if name.startswith("photoage.") else None
            if target is None or target == package or target.startswith("__"):
                continue
            if package not in {"cli", "__main__"} and (
                target == "cli" or (allowed is not None and target not in allowed | BASE)
            ):
                wrong.append(f"{name_of(path)} imports {name}")
    assert wrong == []


def test_a_name_has_one_home() -> None:
    defined = {name_of(path): _defined(path) for path in MODULES}
    wrong = []
    for path in (*MODULES, *Path(__file__).parent.rglob("*.py")):
        for node in nodes(path):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("photoage."):
                module = (node.module or "").removeprefix("photoage.")
                here = defined[module] | {name.removeprefix(f"{module}.") for name in defined}
                wrong += [f"{path}: {module}.{alias.name}" for alias in node.names if alias.name not in here]
        if path in MODULES and "__all__" in _defined(path):
            wrong.append(f"{path}: __all__")
    assert wrong == []


def _defined(path: Path) -> set[str]:
    """Names that a module defines at its top."""
    found: set[str] = set()
    for node in tree(path).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)}
        elif isinstance(node, ast.Try | ast.If):
            inner = (child for child in ast.walk(node) if isinstance(child, ast.Name))
            found |= {child.id for child in inner if isinstance(child.ctx, ast.Store)}
    return found


def test_libraries_stay_where_they_belong() -> None:
    wrong = []
    for path in MODULES:
        name = name_of(path)
        for library in {each.split(".")[0] for each in imports(path)} & ONLY_IN.keys():
            homes = ONLY_IN[library]
            if not any(name == home or name.startswith(home + ".") for home in homes):
                wrong.append(f"{name} imports {library}")
    assert wrong == []


def test_only_the_command_line_prints_and_exits() -> None:
    wrong = []
    for path in MODULES:
        if name_of(path).split(".")[0] == "cli":
            continue
        for node in nodes(path):
            if isinstance(node, ast.Call):
                found = ast.unparse(node.func) in {"print", "exit", "quit", "input", "sys.exit"}
            elif isinstance(node, ast.Raise) and node.exc is not None:
                found = ast.unparse(node.exc).startswith("SystemExit")
            else:
                names = {"sys.stdout", "sys.stderr", "sys.argv"}
                found = isinstance(node, ast.Attribute) and ast.unparse(node) in names
            if found:
                wrong.append(f"{path}:{node.lineno}: {ast.unparse(node)}")
    assert wrong == []


def test_no_pickle_anywhere() -> None:
    loaded = {each.split(".")[0] for path in MODULES for each in imports(path)}
    assert not loaded & {"pickle", "shelve", "marshal"}


def test_files_stay_short() -> None:
    assert [name_of(path) for path in MODULES if len(path.read_text("utf-8").splitlines()) > 400] == []
