"""What a command does around its verb: ask, show keys, a window and progress, print the result."""

from __future__ import annotations

import inspect
import json as json_format
import os
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import platformdirs
from rich.prompt import Confirm, Prompt
from rich.table import Table

import clearswap
from clearswap.cli.controls import has_display, keys_pressed, preview_window
from clearswap.cli.progress_bar import progress_bar
from clearswap.cli.terminal import Terminal, visible
from clearswap.errors import OptionError
from clearswap.progress import Progress

if TYPE_CHECKING:  # these import torch
    from clearswap.api.check import CheckResult
    from clearswap.api.evaluate import EvaluateResult
    from clearswap.api.forget import ForgetResult
    from clearswap.disclosure.consent import Basis, Consent

CALLBACKS = ("on_progress", "stop", "pause")


@dataclass
class Call:
    """A verb, the arguments that were given, the console to print on, and whether it shows more than notes."""

    verb: Callable[..., Any]
    arguments: dict[str, Any]
    console: Terminal = field(default_factory=Terminal)
    bars: bool = True

    @contextmanager
    def ready(self, other_keys: Callable[[], str] = str) -> Generator[Callable[[], Any]]:
        """Yield the verb with its arguments, progress on the console and, where it can be stopped, keys.

        `other_keys`: see `keys_pressed`.
        """
        taken = inspect.signature(self.verb).parameters
        callbacks: dict[str, Callable[..., Any]] = {}
        with ExitStack() as opened:
            keys = None
            if "stop" in taken:
                keys = opened.enter_context(keys_pressed(other_keys, can_save=self.verb.__name__ == "train"))
                callbacks |= {"stop": keys.stop, "pause": keys.paused}
            if "on_progress" in taken:
                bars = progress_bar(self.console) if self.bars else nullcontext(self._note)
                on_progress = opened.enter_context(bars)
                callbacks["on_progress"] = keys.follow(on_progress) if keys is not None else on_progress
            yield partial(self.verb, **self.arguments, **callbacks)

    def __call__(self) -> Any:
        """Run the verb."""
        with self.ready() as verb:
            return verb()

    def _note(self, progress: Progress) -> None:
        if progress.note:
            self.say(progress.note)

    def say(self, text: object) -> None:
        """Print a text as one line."""
        self.console.say(text)


def print_lines(call: Call) -> None:
    """Run the verb and print the lines of what it returns."""
    for line in call().lines:
        call.say(line)


def print_output(call: Call) -> None:
    """Run the verb and print its output's name and what it returns."""
    call.say(f"{call.arguments['output']}: {call()}")


def train(
    call: Call,
    *,
    window: Annotated[
        bool, "Show the preview in a window, where there is a display; it is in the model's folder, too."
    ] = True,
) -> None:
    """Train with keys and a preview window. Of torchrun's processes, only the first one speaks."""
    leads = os.environ.get("RANK", "0") == "0"
    call.console.quiet = not leads
    _show_terms(call)
    for side in "ab":
        faces = call.arguments[f"faces_{side}"]
        _ask_basis(call, side, faces, faces)
    training, model = call.arguments["training"], call.arguments["model"]
    if training.iterations is None and training.minutes is None:
        call.say("training until you press Q or Ctrl-C; P pauses")
    shows = leads and window and has_display()
    window_shown = preview_window(model / "preview.jpg") if shows else nullcontext(str)
    with window_shown as keys_in_window, call.ready(keys_in_window) as verb:
        done = verb()
    call.say(f"{model}: {done}")


def swap(call: Call) -> None:
    """Ask what there is to ask, then do everything."""
    from clearswap.api.swap import Work, work_next_to

    work, output = call.arguments.get("work"), call.arguments["output"]
    folders = Work(work) if work is not None else work_next_to(output)
    _show_terms(call)
    for side, faces in folders.sets.items():
        _ask_basis(call, side, call.arguments[side], faces)
    if (minutes := call.arguments["training"].minutes) is not None:
        call.say(f"training for {minutes:g} minutes (--minutes or --iterations change it; Q ends it early)")
    print_output(call)


def demo(call: Call) -> None:
    """Do everything, and print how good it is and where it lies."""
    done = call()
    _print_evaluation(call, done.evaluation)
    for line in done.lines:
        call.say(line)


def convert(
    call: Call,
    *,
    also: Annotated[
        list[str] | None,
        "MODEL:a or MODEL:b: another person in the same video is replaced by a face of another model. Can be repeated.",
    ] = None,
    look: Annotated[
        Literal["natural", "drawn", "crisp", "soft", "raw"],
        'How the face is fitted in: "natural" (with the person\'s own fine detail), "drawn" (without it), "crisp" '
        '(sharper eyes and mouth), "soft" (no edge anywhere) or "raw" (as the network drew it). Options of the mask '
        "and the blend change it.",
    ] = "natural",
    preview: Annotated[
        bool,
        "Write a picture instead: the hardest frames of the video with these settings and with others, and who is in "
        "it.",
    ] = False,
) -> None:
    """Convert, or draw a preview of it."""
    from clearswap.core.swap import with_look

    settings = call.arguments
    settings["mask"], settings["blend"] = with_look(look, settings["mask"], settings["blend"])
    if preview:
        taken = inspect.signature(clearswap.preview).parameters
        rows = Call(clearswap.preview, {name: settings[name] for name in taken if name in settings}, call.console)()
        call.say(f"{settings['output']}: {', '.join(rows)}")
        return
    settings["also"] = [_role(text) for text in also or []]
    print_output(call)


def _role(text: str) -> clearswap.Role:
    """What `--also` says."""
    model, _, to = text.rpartition(":")
    if not model or to not in ("a", "b"):
        raise OptionError(f"--also {text} names no model and person; write MODEL:a or MODEL:b.")
    return clearswap.Role(Path(model), "a" if to == "a" else "b")


def evaluate(call: Call) -> None:
    """Evaluate and print the table."""
    _print_evaluation(call, call())


def _print_evaluation(call: Call, done: EvaluateResult) -> None:
    """The table, what it says, and where the report lies."""
    from clearswap.api.evaluate import RESULT

    table = Table("", "better", title="How good is this swap?")
    for name in done.lines:
        table.add_column(visible(name), justify="right", style="bold" if name == RESULT else "")
    for metric in done.metrics:
        title = f"{metric.title}, {metric.unit}" if metric.unit else metric.title
        values = [
            f"{line.scores[metric.key]:.{1 if metric.unit in ('dB', 'of 100') else 3}f}" for line in done.lines.values()
        ]
        table.add_row(title, metric.better, *values)
    call.console.print(table)
    for line in [*done.notes, f"report         {done.report}"]:
        call.say(line)


def consent(call: Call) -> None:
    """State the basis of a face set, or print what was stated."""
    from clearswap.disclosure.consent import MEANINGS, model_consent
    from clearswap.faces.faceset import require_faceset

    faces = call.arguments["faces"]
    if len(call.arguments) == 1 and (faces / "model.safetensors").is_file():
        for side, record in sorted(model_consent(faces).items()):
            _print_consent(call, f"{faces}, person {side}", record)
        return
    stated = call() if len(call.arguments) > 1 else clearswap.read_consent(require_faceset(faces).parent)
    if stated is None:
        call.say(f"{faces}: nobody has said yet who is shown and on what basis. Say it with one of:")
        for key, what in MEANINGS.items():
            call.say(f"    clearswap consent {faces} --basis {key:10}  # {what}")
        return
    _print_consent(call, str(faces), stated)


def _print_consent(call: Call, shown: str, stated: Consent) -> None:
    """What a record says, a fact a line."""
    from clearswap.disclosure.consent import MEANINGS

    when = f", stated on {stated.date.isoformat()}" if stated.date is not None else ""
    call.say(f"{shown}: {MEANINGS[stated.basis]} ({stated.basis}{when})")
    for key, text in stated.to_text().items():
        if key not in ("basis", "date"):
            call.say(f"{key.replace('_', ' ')}: {text}")


def forget(call: Call) -> None:
    """Show what there is of a person, ask unless it was said that it is to be deleted, and delete it."""
    sure = call.arguments.pop("delete", False)
    found: ForgetResult = call()
    for line in found.lines:
        call.say(line)
    if not any(one.files for one in found.found):
        return
    if not sure:
        if not _at_terminal():
            raise OptionError("Nothing was deleted, since nobody can be asked here; give --delete to delete all of it.")
        if not Confirm.ask("Delete all that is marked as found?", console=call.console, default=False):
            call.say("Nothing was deleted.")
            return
    found.delete()  # what was shown, and nothing that came since
    for line in found.lines:
        call.say(line)


def _show_terms(call: Call) -> None:
    """Show the terms of use, once: before the first training."""
    from clearswap.disclosure.consent import SHORT_TERMS, TERMS

    shown = Path(platformdirs.user_config_dir("clearswap")) / f"terms-{TERMS}"
    if shown.exists():
        return
    call.say(f"Terms of use {TERMS} (TERMS.md), shown once:")
    for line in SHORT_TERMS:
        call.say(f"  {line}")
    with suppress(OSError):
        shown.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        shown.touch()


def _at_terminal() -> bool:
    """Whether there is somebody to ask."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))


def _ask_basis(call: Call, side: str, shown: Path, faces: Path) -> None:
    """Ask on what basis the footage `shown` of a side is used, which becomes its face set `faces`.

    Not when it was given or is in the face set already, and not where nobody can answer: the verb refuses then. One of
    torchrun's processes does not ask either, because the others could not wait for the answer.
    """
    from clearswap.disclosure.consent import MEANINGS, read_consent

    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
    given = call.arguments.get(f"basis_{side}") is not None
    if given or not _at_terminal() or not alone or not shown.exists() or read_consent(faces) is not None:
        return
    numbers: dict[str, Basis] = {str(number): basis for number, basis in enumerate(MEANINGS, 1)}
    call.say(f"Who does {shown} show, and on what basis do you use this footage?")
    for number, basis in numbers.items():
        call.say(f"  {number}  {MEANINGS[basis]}")
    call.say("None of these? Then this footage is not for a face swap: Ctrl-C ends it.")
    try:
        answer = Prompt.ask("Number", console=call.console, choices=list(numbers))
    except EOFError:
        return
    call.arguments[f"basis_{side}"] = numbers[answer]
    call.say(f"It is kept in {faces / 'consent.toml'}, where you can add a name or a note.")


def check(call: Call, *, json: Annotated[bool, "Print JSON for machines."] = False) -> int:
    """Check files; returns the exit code of the worst."""
    from clearswap.api.check import UNREADABLE, worst

    results, troubles = call.console, Terminal(stderr=True)
    call.console, call.bars = troubles, troubles.is_terminal  # no progress among the results
    checked: list[CheckResult] = call()
    if json:
        text = json_format.dumps([one.to_json() for one in checked], indent=1)  # in ASCII, which steers no terminal
        results.out(text.replace("\x7f", "\\u007f"), highlight=False)
        return worst(checked)
    for one in checked:
        if one.code == UNREADABLE:
            troubles.say(f"clearswap: {one.trouble}")
        else:
            for line in one.lines:
                results.say(line)
    return worst(checked)


def install(call: Call) -> None:
    """Install the face models and say where they are."""
    for path in call():
        call.say(f"ready: {path}")
