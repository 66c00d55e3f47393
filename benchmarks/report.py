"""The report: `results.md` and its plots, made of the results that the benchmarks left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

from common import Plot, Result, Table, figure, load

matplotlib.use("Agg")
from matplotlib import pyplot, ticker

_INTRO = """# Benchmarks

Made by `python benchmarks/run.py`, which runs every script here and rewrites this file; do not edit it. Ratios were
measured side by side, in one process or strictly in turn. Absolute figures belong to the machine that is named beside
them.
"""


def write_report(results: Path, names: list[str]) -> Path:
    """Write the report beside the folder `results`; a benchmark of `names` without a result is listed as not run.

    What a benchmark measured on other clips too (`NAME_CLIPS.json`) follows it.
    """
    page = results.with_name(f"{results.name}.md")
    results.mkdir(parents=True, exist_ok=True)
    parts = [_INTRO]
    for name in names:
        for pattern in (f"{name}-[0-9]*.png", f"{name}_*-[0-9]*.png"):
            for old in results.glob(pattern):
                old.unlink()
        found = [path for path in (results / f"{name}.json", *sorted(results.glob(f"{name}_*.json"))) if path.is_file()]
        parts += [section(load(path), results) for path in found] or [_missing(name)]
    beside = page.with_suffix(".md.part")
    beside.write_text("\n".join(parts), encoding="utf-8")
    beside.replace(page)
    return page


def section(result: Result, results: Path) -> str:
    """One question with its answer."""
    lines = [f"## {result.question}", "", result.how, ""]
    if result.quick:
        lines += ["**Quick run: these figures say nothing but that the script works.**", ""]
    for table in result.tables:
        lines += [*as_markdown(table), ""]
    for number, plot in enumerate(result.plots, 1):
        picture = results / f"{result.name}-{number}.png"
        draw(plot, picture)
        lines += [f"![{plot.title}]({results.name}/{picture.name})", ""]
    lines += [line for note in result.notes for line in (note, "")]
    about = result.about
    measured = f"`{about['command']}`, {about['date']}, commit {about['commit']}. {about['machine']}."
    return "\n".join([*lines, f"*{measured}*", ""])


def _missing(name: str) -> str:
    return f"## {name}\n\nNot run yet: `python benchmarks/{name}.py`\n"


def as_markdown(table: Table) -> list[str]:
    """A table in Markdown, figures to the right."""
    rule = ["---", *["---:"] * (len(table.columns) - 1)]
    rows = [[figure(cell) for cell in row] for row in table.rows]
    lines = ["| " + " | ".join(row) + " |" for row in ([*table.columns], *rows)]
    lines.insert(1, "|" + "|".join(rule) + "|")
    return [f"**{table.title}**", "", *lines] if table.title else lines


def draw(plot: Plot, path: Path) -> None:
    """A plot as a small picture."""
    tall = 2.2 + 0.16 * len(plot.series) if plot.kind == "stacked" else 3.0
    drawing, axes = pyplot.subplots(figsize=(7.2, max(2.6, tall)), dpi=90, layout="constrained")
    {"lines": _lines, "bars": _bars, "stacked": _stacked}[plot.kind](axes, plot)
    axes.set_title(plot.title, fontsize=10)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    drawing.savefig(path, metadata={"Software": None}, pil_kwargs={"optimize": True})
    pyplot.close(drawing)


def _lines(axes: Any, plot: Plot) -> None:
    for name, points in plot.series.items():
        axes.plot(*zip(*points, strict=True), label=name, marker="o" if len(points) < 12 else None, markersize=4)
    axes.set_xlabel(plot.x, fontsize=8)
    axes.set_ylabel(plot.y, fontsize=8)
    if plot.log:
        _log_axes(axes, plot)
    else:
        axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    if len(plot.series) > 1:
        axes.legend(fontsize=8)


def _log_axes(axes: Any, plot: Plot) -> None:
    """Powers on both axes; below, only the places that were measured."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    places = sorted({float(x) for points in plot.series.values() for x, _ in points})
    if len(places) <= 8:
        axes.set_xticks(places, [figure(round(x, 2)) for x in places])
        axes.minorticks_off()
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda value, _: figure(float(value)).removesuffix(".0"))
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())


def _bars(axes: Any, plot: Plot) -> None:
    """Lying bars, a group for each x and a colour for each series."""
    words = list(dict.fromkeys(str(x) for points in plot.series.values() for x, _ in points))
    height = 0.8 / len(plot.series)
    for at, (name, points) in enumerate(plot.series.items()):
        places = [words.index(str(x)) + (at - (len(plot.series) - 1) / 2) * height for x, _ in points]
        drawn = axes.barh(places, [y for _, y in points], height, label=name)
        axes.bar_label(drawn, [figure(float(y)) for _, y in points], fontsize=7, padding=2)
    _words(axes, words, plot)
    if len(plot.series) > 1:
        axes.legend(fontsize=8)


def _stacked(axes: Any, plot: Plot) -> None:
    """One lying bar for each x, made of the series; what is less than 3 % of it has no figure in it."""
    words = list(dict.fromkeys(str(x) for points in plot.series.values() for x, _ in points))
    whole = {word: sum(y for points in plot.series.values() for x, y in points if str(x) == word) for word in words}
    reached = dict.fromkeys(words, 0.0)
    colours = matplotlib.colormaps["tab20"]
    for at, (name, points) in enumerate(plot.series.items()):
        starts = [reached[str(x)] for x, _ in points]
        places = [words.index(str(x)) for x, _ in points]
        drawn = axes.barh(places, [y for _, y in points], 0.6, left=starts, label=name, color=colours(at % 20))
        texts = [figure(float(y)) if y > 0.03 * max(whole.values()) else "" for _, y in points]
        axes.bar_label(drawn, texts, label_type="center", fontsize=7)
        for x, y in points:
            reached[str(x)] += y
    _words(axes, words, plot)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))


def _words(axes: Any, words: list[str], plot: Plot) -> None:
    axes.set_yticks(range(len(words)), words)
    axes.invert_yaxis()
    axes.set_xlabel(plot.y, fontsize=8)
