"""Does a conversion that is killed again and again come out as if nothing had happened?

    python tools/kill_and_resume.py MODEL CLIP [--kills 10] [--seed 1]

Converts CLIP once without interruption, then again, killed with SIGKILL at ten random moments and always continued with
--resume. Compares every frame and every packet of sound. Takes about six times as long as one conversion.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import av
import numpy as np

from clearswap.media.video import probe, read_frames


def main() -> None:
    """Convert, kill, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    moments = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        once, output = Path(folder) / "once.mp4", Path(folder) / "killed.mp4"
        seconds = whole(convert(given, once))
        print(f"{given.clip.name}: {probe(given.clip).frames} frames, converted in {seconds:.0f} s", flush=True)
        killed = 0
        while killed < given.kills:
            process = convert(given, output, "--resume")
            # anywhere in what is left to do, looking for faces or swapping
            moment = moments.uniform(0.1, 0.8) * seconds
            try:
                process.wait(moment)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                killed += 1
                work = sorted(path.name for path in output.parent.glob(f".{output.name}.work/segment*"))
                print(f"kill {killed} after {moment:.1f} s: {len(work)} segments are finished", flush=True)
                if output.exists():
                    sys.exit("a killed run left an output behind")
                continue
            if process.returncode:
                sys.exit(f"the conversion failed with {process.returncode}")
            print("came to its end before it could be killed; compared, and once more", flush=True)
            compare(once, output, given.clip)
            output.unlink()
        whole(convert(given, output, "--resume"))
        compare(once, output, given.clip)


def convert(given: argparse.Namespace, output: Path, *more: str) -> subprocess.Popen[bytes]:
    """Start a conversion."""
    arguments = ["convert", str(given.model), str(given.clip), "-o", str(output), "--to", "a", "--faces", "largest"]
    return subprocess.Popen([sys.executable, "-m", "clearswap", *arguments, *more], stdout=subprocess.DEVNULL)


def whole(process: subprocess.Popen[bytes]) -> float:
    """Wait for the end; how long that took."""
    begun = time.monotonic()
    if process.wait():
        sys.exit(f"the conversion failed with {process.returncode}")
    return time.monotonic() - begun


def compare(once: Path, killed: Path, clip: Path) -> None:
    """Exit with 1 unless both are alike."""
    frames = differ = 0
    for one, other in zip(read_frames(once), read_frames(killed), strict=True):
        frames, differ = frames + 1, differ + (one.time != other.time or not np.array_equal(one.picture, other.picture))
    sounds = [sound_of(path) for path in (clip, once, killed)]
    ends = [
        (round(picture_end(path), 3), round(sound[-1][0], 3) if sound else 0)
        for path, sound in zip((clip, killed), sounds[::2], strict=True)
    ]
    print(f"{frames} frames, {differ} differ; {len(sounds[0])} packets of sound")
    print(f"sound is the clip's own: {sounds[0] == sounds[1] == sounds[2]}; last frame and last packet at {ends} s")
    if differ or not sounds[0] == sounds[1] == sounds[2]:
        sys.exit(1)


def picture_end(path: Path) -> float:
    """When the last frame is shown."""
    return max(frame.time for frame in read_frames(path, every=1))


def sound_of(path: Path) -> list[tuple[float, bytes]]:
    """Time and content of every packet of sound."""
    with av.open(str(path)) as file:
        packets: Any = file.demux(file.streams.audio[0]) if file.streams.audio else ()
        return [(float(p.pts * p.time_base), bytes(p)) for p in packets if p.size]


if __name__ == "__main__":
    main()
