"""Run the benchmarks and rewrite the report: `python benchmarks/run.py [--quick] [NAME ...]`

Each script runs by itself in a process of its own (all of them when none is named), one after the other; then
`results.md` is made of every result that there is, old ones of other scripts included. `--render-only` makes the
report and runs nothing. Quick results go into a folder of their own, never into the report.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
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
    """Run scripts one after the other; quick ones, whose times nobody reads, two at once. Those that failed."""
    options = (["--quick"] if quick else []) + (["--out", str(out)] if out != common.RESULTS else [])
    env = os.environ | ({"OMP_NUM_THREADS": "1"} if quick else {})

    def fails(name: str) -> bool:
        begun = time.perf_counter()
        ran = subprocess.run(
            [sys.executable, str(script(name)), *options],
            check=False,
            env=env,
            text=True,
            stdout=subprocess.PIPE if quick else None,
            stderr=subprocess.STDOUT if quick else None,
        )
        print(f"\n=== {name}: {time.perf_counter() - begun:.0f} seconds\n{ran.stdout or ''}", flush=True)
        return bool(ran.returncode)

    with ThreadPoolExecutor(2 if quick else 1) as pool:
        return [name for name, failed in zip(names, pool.map(fails, names), strict=True) if failed]


if __name__ == "__main__":
    main()
