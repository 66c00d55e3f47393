"""The house rules: rooms in order, core without files and devices, small pieces, plain words, public names."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import clearswap

PACKAGE = Path(clearswap.__file__).parent
ROOMS = ["core", "media", "faces", "training", "disclosure", "evaluation", "api", "cli"]  # the lowest first
NOT_IN_CORE = {"pathlib", "os", "shutil", "io", "av", "rich", "cyclopts", "onnxruntime", "safetensors", "c2pa"}
DEVICES = {"cuda", "mps", "xpu", "accelerator", "backends", "distributed"}  # of torch
TREES = {path.relative_to(PACKAGE): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}
FORBIDDEN = {"footing", "subjects", "beside", "bend", "machinery"}  # words of names and docstrings
FORBIDDEN_PATHS = ("whole_file", "verbs/", "doors/")


def runtime(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node of a file but those under `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield node
            yield from runtime(node)


def imports(tree: ast.AST) -> set[str]:
    """Every module and name that a file imports when it runs, inside functions too."""
    found: set[str] = set()
    for node in runtime(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own_files(tree: ast.AST) -> set[Path]:
    """The files of this package that a file imports."""
    names = (name.split(".")[1:] for name in imports(tree) if name.startswith("clearswap."))
    return {file for parts in names if (file := Path(*parts).with_suffix(".py")) in TREES}


def docstrings(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def names(tree: ast.AST) -> Iterator[str]:
    """What a file calls things: its classes, functions, parameters, variables and attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def messages(tree: ast.AST) -> Iterator[str]:
    """Every text that is no docstring; of an f-string all its parts at once."""
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside | statements:
            yield node.value


def test_rooms_import_downwards_and_core_knows_no_files_and_no_devices() -> None:
    wrong: list[str] = []
    for file, tree in TREES.items():
        room = file.parts[0]
        if room not in ROOMS:  # errors, progress: for every room
            continue
        for other in own_files(tree):
            if other.parts[0] in ROOMS and ROOMS.index(other.parts[0]) > ROOMS.index(room):
                wrong.append(f"{file} imports {other} from a room above")
        if room == "core":
            wrong += [f"{file} imports {name}" for name in imports(tree) if name.split(".")[0] in NOT_IN_CORE]
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "open":
                    wrong.append(f"{file} opens a file")
                if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "torch" and node.attr in DEVICES:
                    wrong.append(f"{file} asks for torch.{node.attr}")
    assert wrong == []


def test_files_and_functions_are_small_and_pass_on_what_they_name() -> None:
    wrong: list[str] = []
    for file, tree in TREES.items():
        if (lines := len((PACKAGE / file).read_text().splitlines())) > 450:
            wrong.append(f"{file}: {lines} lines")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                start = node.body[1 if ast.get_docstring(node) and len(node.body) > 1 else 0].lineno
                if (node.end_lineno or start) - start >= 60:
                    wrong.append(f"{file}: {node.name} is asking to be two")
                if node.args.kwarg:
                    wrong.append(f"{file}: {node.name} takes **{node.args.kwarg.arg}")
            elif isinstance(node, ast.Global):
                wrong.append(f"{file} writes the global {node.names}")
    assert wrong == []


def test_no_verb_reaches_over_30_files() -> None:
    """Counted are all files that its imports lead to; not other verbs, nor `swap` and `demo`, which only call them."""
    reached: dict[str, set[Path]] = {}
    verbs = {file for file in TREES if file.parts[0] == "api" and file.stem in dir(clearswap)}
    for verb in verbs - {Path("api/swap.py")}:
        todo, seen = {verb}, {verb}
        while todo:
            todo = set[Path]().union(*(own_files(TREES[file]) for file in todo)) - seen - verbs
            seen |= todo
        reached[verb.stem] = seen - {verb}
    print({verb: len(files) for verb, files in reached.items()})
    assert [verb for verb, files in reached.items() if len(files) > 30] == []


def test_one_word_for_one_thing() -> None:
    """No public class twice, none of the words we dropped, docstrings that can be read alone, no flags below cli/."""
    nodes = [node for tree in TREES.values() for node in tree.body if isinstance(node, ast.ClassDef)]
    public = Counter(node.name for node in nodes if not node.name.startswith("_"))
    wrong = [f"class {name} is there {count} times" for name, count in public.items() if count > 1]
    for file, tree in TREES.items():
        for text in (*docstrings(tree), *names(tree)):
            first = text.strip().splitlines()[0] if text.strip() else ""
            words = set(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text).lower()))
            wrong += [f"{file}: {word} in {first!r}" for word in words & FORBIDDEN]
            wrong += [f"{file}: {path} in {first!r}" for path in FORBIDDEN_PATHS if path in text]
            if text.startswith("The same"):
                wrong.append(f"{file}: {first!r} cannot be read alone")
        if file.parts[0] != "cli":
            texts = (text for text in messages(tree) if "clearswap " not in text)  # whole commands may be named
            wrong += [f"{file}: a flag in {text!r}" for text in texts if re.search(r" --[a-z]", text)]
    assert wrong == []


def test_every_public_name_is_there() -> None:
    for name in dir(clearswap):
        assert getattr(clearswap, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'extrakt'; did you mean 'extract'"):
        _ = clearswap.extrakt  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("verb", ["extract", "check", "set_consent"])
def test_these_do_without_torch(verb: str) -> None:
    """Importing torch takes two seconds, as long as extracting 150 frames, and 250 MB of memory."""
    code = f"import sys, clearswap; clearswap.{verb}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
