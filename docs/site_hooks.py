"""Pages of the site that are made from the code and from files outside `docs/`.

- `reference/cli.md`: every command with all its options, by cyclopts.
- `reference/python.md`: every public name of `clearswap`, for mkdocstrings to fill in.
- `code/...`: the source files, to be read beside the tour.
- The changelog, the contributing and security pages, and the benchmarks' results with their pictures.

Links in Markdown point to files of the repository, so that they work in any viewer; they are turned into links to the
pages made here.
"""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path
from types import FunctionType

from cyclopts import App
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))
PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "NOTICE.md": "notice.md",
    "TERMS.md": "terms.md",
    "README.md": "index.md",
    "people/README.md": "people.md",
    "benchmarks/results.md": "notes/benchmarks.md",
}
VERBS = ["extract", "review", "set_consent", "read_consent", "train", "plot", "preview", "convert", "evaluate", "check"]
VERBS += ["forget"]
_LINK = re.compile(r"(\]\(|\bhref=\"|\bsrc=\")([^)#\s\"]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here."""
    made = {page: (ROOT / path).read_text() for path, page in PAGES.items() if page != "index.md"}
    for path in code_files():
        name = path.relative_to(ROOT).as_posix()
        made[page_of(name)] = (
            f"---\ntitle: {path.name}\nsearch: {{exclude: true}}\nhide: [toc]\n---\n\n# `{name}`\n\n"
            f'~~~~~ {{ .python linenums="1" }}\n{path.read_text()}~~~~~\n'
        )
    for uri, text in made.items():
        files.append(File.generated(config, uri, content=text))
    for picture in sorted((ROOT / "benchmarks" / "results").glob("*.png")):
        uri = f"notes/results/{picture.name}"
        files.append(File.generated(config, uri, abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Fill in the references; elsewhere turn links to files of the repository into links to pages of the site."""
    uri = page.file.src_uri
    if uri == "reference/cli.md":
        return command_line()
    if uri == "reference/python.md":
        return public_names()
    if uri.startswith("code/"):
        return markdown
    origins = {made: path for path, made in PAGES.items() if made != "index.md"}
    origin = posixpath.dirname(origins.get(uri, f"docs/{uri}"))

    def mended(found: re.Match[str]) -> str:
        before, target = found.groups()
        if "://" in target or target.startswith(("mailto:", "#")):
            return found[0]
        path = posixpath.normpath(posixpath.join(origin, target))
        return before + posixpath.relpath(page_of(path), posixpath.dirname(uri) or ".")

    return _LINK.sub(mended, markdown)


def page_of(path: str) -> str:
    """Where a file of the repository is in the site; `path` itself where it is not."""
    if path in PAGES:
        return PAGES[path]
    if path.endswith(".py"):
        return f"code/{path.removeprefix('src/').removesuffix('.py')}.md"
    if path.startswith("benchmarks/results/"):
        return path.replace("benchmarks/", "notes/")
    return path.removeprefix("docs/")


def code_files() -> list[Path]:
    """The source files that have a page of their own."""
    return [
        path
        for folder in ("src/clearswap", "examples", "benchmarks")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path.stat().st_size
    ]


def command_line() -> str:
    """The help of every command with all its options, also those that only --help-all shows."""
    from clearswap.cli import main as cli

    app = App(
        name="clearswap",
        help=cli._HELP,
        help_flags=[],
        version_flags=[],
        group_arguments=cli._ARGUMENTS,
        group_parameters=cli._OPTIONS,
    )
    for name in cli.COMMANDS:
        cli._add(app, name, called=True, everything=True)
    start, *commands = re.split(r"(?m)^## clearswap ", app.generate_docs("markdown"))
    text = re.sub(r"^# clearswap\b", "# The command line", start[: start.index("## Table of Contents")])
    for section in commands:
        name = section.split("\n", 1)[0]
        examples = cli.COMMANDS[name].examples.replace("### ", "")
        head, options, rest = section.partition("\n**Arguments**")
        text += f"## {head}\n{examples}\n{options}{rest}"
    return text.replace("### clearswap models install", "### models install")


def public_names() -> str:
    """A page of mkdocstrings' directives, one for each name that `clearswap` has."""
    import clearswap

    names = [name for name in dir(clearswap) if not name.startswith("_")]
    things = {name: getattr(clearswap, name) for name in names}
    things = {name: thing for name, thing in things.items() if hasattr(thing, "__module__")}
    verbs = {name for name, thing in things.items() if isinstance(thing, FunctionType)}
    errors = {name for name in names if isinstance(things.get(name), type) and issubclass(things[name], Exception)}
    results = {name for name in things if name.endswith("Result")}
    configs = {name for name in things if name.endswith("Config")}
    rest = set(things) - verbs - errors - results - configs
    text = (
        "# The Python API\n\nEvery name here is `clearswap.NAME`. Settings are frozen dataclasses that check "
        "themselves. Everything after the first arguments is given by keyword. What a user can mend is raised "
        "as a `ClearswapError` whose text says what, where and what to do.\n"
    )
    for title, group in [
        ("Functions", [*[name for name in VERBS if name in verbs], *sorted(verbs - set(VERBS))]),
        ("Settings", sorted(configs)),
        ("Results", sorted(results)),
        ("Others", sorted(rest)),
        ("Errors", sorted(errors, key=lambda name: (name != "ClearswapError", name))),
    ]:
        text += f"\n## {title}\n"
        for name in group:
            text += f"\n::: {things[name].__module__}.{name}\n"
    return text
