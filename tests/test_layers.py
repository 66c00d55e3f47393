"""The house rules: imports point downwards, tensor code knows no files, names are the public ones."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import clearswap

PACKAGE = Path(clearswap.__file__).parent
LAYERS = ["core", "media", "faces", "training", "disclosure", "evaluation", "api", "cli"]  # lowest first
FOR_ALL = {"errors", "progress"}  # may be imported from every layer
NOT_IN_CORE = {"pathlib", "os", "shutil", "io", "av", "rich", "cyclopts", "onnxruntime", "safetensors", "c2pa"}
MODULES = sorted(path for layer in LAYERS for path in (PACKAGE / layer).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Every module that a file imports, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def layer_of(path: Path) -> int:
    return LAYERS.index(path.relative_to(PACKAGE).parts[0])


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_downwards(path: Path) -> None:
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "clearswap" and len(parts) > 1 and parts[1] in LAYERS:
            assert LAYERS.index(parts[1]) <= layer_of(path), f"{path.name} imports {name} from a layer above"


@pytest.mark.parametrize("path", sorted((PACKAGE / "core").glob("*.py")), ids=lambda p: p.name)
def test_core_knows_no_files(path: Path) -> None:
    roots = {name.split(".")[0] for name in imports(path)}
    assert not roots & NOT_IN_CORE
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert "open" not in calls


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_kwargs_and_no_global_statement(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        assert not isinstance(node, ast.Global), f"{path.name} writes a global"
        assert not (isinstance(node, ast.arguments) and node.kwarg), f"{path.name} takes **kwargs"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_and_functions_stay_small(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert len(path.read_text().splitlines()) <= 450
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            start = node.body[1].lineno if ast.get_docstring(node) and len(node.body) > 1 else node.body[0].lineno
            assert (node.end_lineno or start) - start < 60, f"{path.name}: {node.name} is asking to be two"


def test_every_public_name_is_there() -> None:
    for name in dir(clearswap):
        assert getattr(clearswap, name).__name__ == name


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'extrakt'; did you mean 'extract'"):
        _ = clearswap.extrakt  # pyright: ignore[reportAttributeAccessIssue]


def test_extract_does_without_torch() -> None:
    """Importing torch takes two seconds, as long as extracting 150 frames."""
    reached: set[str] = set()
    todo = ["api.extract"]
    while todo:
        name = todo.pop()
        path = PACKAGE / f"{name.replace('.', '/')}.py"
        if name in reached or not path.is_file():
            continue
        reached.add(name)
        found = imports(path)
        assert not any(module.split(".")[0] == "torch" for module in found), f"{name} imports torch"
        todo += [module.removeprefix("clearswap.") for module in found if module.startswith("clearswap.")]
    assert "core.align" in reached
