"""Run the benchmarks and rewrite the report: `python benchmarks/run.py [--quick] [NAME ...]`

Each script runs by itself in a process of its own (all of them when none is named), one after the other; then
`results.md` is made of every result that there is, old ones of other scripts included. `--render-only` makes the
report and runs nothing. Quick results go into a folder of their own, never into the report.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import common
from common import HERE
from report import write_report

# In the order of the report; a name without a script is passed over.
NAMES = [
    "train_speed",
    "time_to_quality",
    "swap_quality",
    "face_finding",
    "extract_speed",
    "stages",
    "memory",
    "frame_size",
    "layer_speed",
    "mark",
]


def main() -> None:
    """Run what is asked for, then write the report. Leaves with 1 when a script failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    there = [name for name in NAMES if script(name).is_file()]
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(there))
    parser.add_argument("--render-only", action="store_true", help="run nothing, only write the report anew")
    common.add_common(parser)
    given = parser.parse_args()
    if unknown := set(given.names) - set(there):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(there)}")
    out = common.output_folder(parser, given)
    failed = [] if given.render_only else run_all(given.names or there, quick=given.quick, out=out)
    print(f"report: {write_report(out, there)}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def script(name: str) -> Path:
    """The script of a benchmark."""
    return HERE / f"{name}.py"


def run_all(names: list[str], *, quick: bool, out: Path) -> list[str]:
    """Run scripts one after the other; gives back the names of those that failed."""
    options = (["--quick"] if quick else []) + (["--out", str(out)] if out != common.RESULTS else [])
    failed: list[str] = []
    for name in names:
        print(f"\n=== {name}", flush=True)
        begun = time.perf_counter()
        if subprocess.run([sys.executable, str(script(name)), *options], check=False).returncode:
            failed.append(name)
        print(f"=== {name}: {time.perf_counter() - begun:.0f} seconds", flush=True)
    return failed


if __name__ == "__main__":
    main()
