"""Does the invisible mark last, and is it found where there is none? `python benchmarks/mark.py [CLIP ...]`

    make people; make footage               # renders and fetches the clips, once

Clips are made 720 pixels high, marked, and put through what people do to videos; so are the same clips without a mark.
Then windows of all clips and made-up pictures, at random places, scales and times, none of them marked.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np

import clips
import common
from clearswap.core.align import Frame
from clearswap.disclosure.mark import SURE, MarkReading, confidence_of, lay, pattern, read
from clearswap.media.video import read_frames
from common import Cell, Options, Result, Table

BITS = 0xA53C
FOOTAGE = clips.CACHE / "clearswap-footage"
REAL = ["bigbuckbunny", "WolfgangLanger_Pexels", "single_face", "no_face", "bikes"]
WIDE = [(640, 360), (854, 480), (1280, 720), (1920, 1080), (3840, 2160)]
SIZES = [(360, 640), *WIDE, (256, 256), (200, 200), (128, 128)]
Frames = list[Frame]
Treatment = Callable[[Frames], Frames]


def encoded(frames: Frames, crf: int) -> Frames:
    """Frames as they come back from H.264."""
    file = io.BytesIO()
    height, width = (side // 2 * 2 for side in frames[0].shape[:2])
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=clips.RATE)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": str(crf)}
        for frame in frames:
            even = np.ascontiguousarray(frame[:height, :width])
            out.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        out.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def jpeg(frame: Frame) -> Frame:
    """A frame as it comes back from a JPEG of quality 60."""
    bytes_ = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    return np.asarray(cv2.imdecode(bytes_, cv2.IMREAD_COLOR), np.uint8)  # blue and red swap places twice


def lines(frame: Frame, height: int) -> Frame:
    """A frame made `height` pixels high, of even width."""
    width = round(frame.shape[1] * height / frame.shape[0] / 2) * 2
    how = cv2.INTER_AREA if height < frame.shape[0] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(frame, (width, height), interpolation=how), np.uint8)


def cropped(frame: Frame, down: float, across: float) -> Frame:
    """95 % of a frame's height and width, from `down` and `across` (0 left and top, 1 right and bottom) of the rest."""
    height, width = (side * 19 // 40 * 2 for side in frame.shape[:2])
    top, left = round((frame.shape[0] - height) * down), round((frame.shape[1] - width) * across)
    return frame[top : top + height, left : left + width]


def turned(frame: Frame, degrees: float) -> Frame:
    """A frame turned about its centre, with black corners."""
    height, width = frame.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    return np.asarray(cv2.warpAffine(frame, matrix, (width, height)), np.uint8)


def then_h264(change: Callable[[Frame], Frame], crf: int = 23) -> Treatment:
    """Every frame changed, then encoded."""
    return lambda frames: encoded([change(frame) for frame in frames], crf)


def light(frame: Frame, times: float, centre: float) -> Frame:
    """Brightness or contrast changed."""
    return np.asarray(((frame.astype(np.float32) - centre) * times + centre).clip(0, 255), np.uint8)


TREATMENTS: dict[str, Treatment] = {
    "nothing": lambda frames: frames,
    "H.264 crf 23": then_h264(lambda frame: frame),
    "H.264 crf 28": then_h264(lambda frame: frame, 28),
    "H.264 crf 33": then_h264(lambda frame: frame, 33),
    "360p, crf 28": then_h264(lambda frame: lines(frame, 360), 28),
    "cropped to 95 %, off-centre, crf 23": then_h264(lambda frame: cropped(frame, 0.9, 0.1)),
    "turned by 2 degrees, crf 23": then_h264(lambda frame: turned(frame, 2)),
    "mirrored, crf 23": then_h264(lambda frame: frame[:, ::-1]),
    "15 % brighter, crf 23": then_h264(lambda frame: light(frame, 1.15, 0)),
    "20 % more contrast, crf 23": then_h264(lambda frame: light(frame, 1.2, 128)),
    "one frame, JPEG 60": lambda frames: [jpeg(frames[len(frames) // 2])],
    "one frame after crf 23, JPEG 60": lambda frames: [jpeg(encoded(frames[:12], 23)[-1])],
}


def marked(frames: Frames) -> Frames:
    """Frames with the mark laid in."""
    wanted = pattern(BITS, *frames[0].shape[:2])
    return [lay(frame, wanted) for frame in frames]


def psnr(one: Frames, other: Frames) -> float:
    """Of the frame that differs most, in dB."""
    errors = [float(((a.astype(np.float32) - b) ** 2).mean()) for a, b in zip(one, other, strict=True)]
    return 10 * math.log10(255**2 / max(errors))


def right(reading: MarkReading) -> int:
    """Bits that came back."""
    return 16 - (reading.bits ^ BITS).bit_count()


def treat_one(clip: Path, frames: int) -> tuple[float, list[tuple[MarkReading, MarkReading]]]:
    """The PSNR of the mark in a clip, and what is read after each treatment with the mark and without."""
    plain = [lines(frame, 720) for frame in clips.pictures(clip, frames)]
    with_mark = marked(plain)
    both: list[tuple[MarkReading, MarkReading]] = []
    for name, treatment in TREATMENTS.items():
        both.append((read(treatment(with_mark)), read(treatment(plain))))
        with_, without = both[-1]
        print(clip.stem, name, right(with_), f"{with_.score:.1f}; without {without.score:.1f}", sep=", ", flush=True)
    return psnr(plain, with_mark), both


def treat(given: list[Path], frames: int) -> list[Table]:
    """Every clip through every treatment, with the mark and without."""
    with ProcessPoolExecutor(2) as pool:
        done = list(pool.map(treat_one, given, [frames] * len(given)))
    read_as = {name: [both[at][0] for _, both in done] for at, name in enumerate(TREATMENTS)}
    without = {name: [both[at][1] for _, both in done] for at, name in enumerate(TREATMENTS)}
    rows: list[list[Cell]] = [["PSNR of the mark, dB", *(decibel for decibel, _ in done)]]
    rows += [[name, *(f"{right(one)}, {one.confidence:.0f}" for one in read_as[name])] for name in TREATMENTS]
    summary: list[list[Cell]] = [
        [
            name,
            f"{sum(one.marked for one in readings)} of {len(readings)}",
            min(map(right, readings)),
            min(one.confidence for one in readings),
            float(np.median([one.confidence for one in readings])),
            max(one.score for one in without[name]),
            f"{sum(one.marked for one in without[name])} of {len(readings)}",
        ]
        for name, readings in read_as.items()
    ]
    heads = ["", "marked", "bits, worst", "confidence, worst", "median", "unmarked: highest score", "called marked"]
    names = ["", *(clip.stem for clip in given)]
    return [
        Table("A marked clip after what people do", heads, summary),
        Table("Each clip: bits right of 16, confidence", names, rows),
    ]


def sizes(clip: Path, frames: int) -> Table:
    """One clip at other sizes, and single pictures of it."""
    rows: list[list[Cell]] = []
    for width, height in SIZES:
        plain = [filled(frame, width, height) for frame in clips.pictures(clip, frames if width < 3000 else 8)]
        with_mark = marked(plain)
        after = [read(encoded(with_mark, crf)) for crf in (23, 28)]
        after.append(read([jpeg(with_mark[0])]))
        cells = [f"{right(one)}, {one.confidence:.0f}" for one in after]
        rows.append([f"{width}x{height}", psnr(plain, with_mark), *cells])
    heads = ["size", "PSNR, dB", "H.264 crf 23", "H.264 crf 28", "one frame, JPEG 60"]
    return Table(f"{clip.stem} at other sizes: bits right of 16, confidence", heads, rows)


def filled(frame: Frame, width: int, height: int) -> Frame:
    """A frame scaled so that it fills a size, the rest cut away."""
    scaled = lines(frame, max(height, math.ceil(width * frame.shape[0] / frame.shape[1] + 2)))
    top, left = (scaled.shape[0] - height) // 2, (scaled.shape[1] - width) // 2
    return np.ascontiguousarray(scaled[top : top + height, left : left + width])


def cost(clip: Path, rounds: int) -> Table:
    """What laying and reading take; OpenCV on one core."""
    cv2.setNumThreads(1)
    rows: list[list[Cell]] = []
    for width, height in ((1280, 720), (1920, 1080), (3840, 2160)):
        frames = [filled(frame, width, height) for frame in clips.pictures(clip, 48 if width == 1280 else 2)]
        made = pattern(BITS, height, width)
        works = {"pattern": lambda h=height, w=width: pattern(BITS, h, w), "lay": lambda f=frames, m=made: lay(f[0], m)}
        best = common.fastest(works, rounds)
        reading = common.seconds(lambda f=frames: read(f)) if width == 1280 else 0.0
        rows.append([f"{width}x{height}", 1000 * best["lay"], 1000 * best["pattern"], reading or "-"])
    return Table("Cost", ["size", "lay a frame, ms", "pattern, once, ms", "read 48 frames, s"], rows)


def windows(given: list[Path], count: int, seed: int) -> Iterator[Frames]:
    """Unmarked windows of clips, one to five frames at a time; every fifth is a made-up picture."""
    dice = np.random.default_rng(seed)
    held: Frames = []
    for index in range(count):
        if index % 5 == 4:
            yield [made_up(index // 5, dice)]
            continue
        if index % 20 == 0:
            clip = given[dice.integers(len(given))]
            held = [frame.picture for frame in islice(read_frames(clip, every=3), 40)]
        first, number = int(dice.integers(max(1, len(held) - 5))), int(dice.integers(1, 6))
        height, width = (int(side * dice.uniform(0.4, 1)) for side in held[0].shape[:2])
        top, left = (int(dice.integers(a - b + 1)) for a, b in zip(held[0].shape[:2], (height, width), strict=True))
        scale = min(dice.uniform(200, 800) / min(height, width), 2000 / max(height, width))
        how = int(dice.choice([cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
        cut = [np.ascontiguousarray(frame[top : top + height, left : left + width]) for frame in held]
        yield [
            np.asarray(cv2.resize(frame, None, fx=scale, fy=scale, interpolation=how), np.uint8)
            for frame in cut[first : first + number]
        ]


def made_up(kind: int, dice: np.random.Generator) -> Frame:
    """Noise, something flat, stripes, checks, a slope, blobs, dots, rings or text."""
    height, width = int(dice.integers(200, 720)), int(dice.integers(200, 1280))
    y, x = np.mgrid[:height, :width].astype(np.float32)
    step, angle = int(dice.integers(3, 30)), dice.uniform(0, math.pi)
    grey = [
        lambda: dice.uniform(0, 255, (height, width)),
        lambda: np.full((height, width), dice.uniform(0, 255)),
        lambda: 128 + 100 * np.sign(np.sin((x * math.cos(angle) + y * math.sin(angle)) * 6 / step)),
        lambda: (x // step + y // step) % 2 * 200,
        lambda: (x / width + y / height) * 127,
        lambda: 128 + 40 * step * cv2.GaussianBlur(dice.standard_normal((height, width)), (0, 0), 1 + step / 6),
        lambda: 255.0 * ((x % step == 0) & (y % step == 0)),
        lambda: 128 + 120 * np.sin((x * x + y * y) * 0.0001 * step),
        lambda: written(height, width, dice),
    ][kind % 9]()
    return np.repeat(np.asarray(grey).clip(0, 255).astype(np.uint8)[..., None], 3, 2)


def written(height: int, width: int, dice: np.random.Generator) -> np.ndarray:
    """Lines of text."""
    page = np.full((height, width), 255, np.uint8)
    for line in range(12, height, 14):
        text = "".join(map(chr, dice.integers(33, 122, 99)))
        cv2.putText(page, text, (4, line), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 0, 1)
    return page


def unmarked(given: list[Path], count: int) -> Table:
    """How high windows without a mark score."""
    scores = np.sort([read(frames).score for frames in windows(given, count, 0)])
    spread = float(scores.std() * math.sqrt(6) / math.pi)  # of Gumbel's distribution, whose upper tail is exponential
    limit = next(score / 100 for score in range(3200) if confidence_of(score / 100) >= SURE)
    beyond = 1 - math.exp(-math.exp(-(limit - (scores.mean() - 0.5772 * spread)) / spread))
    rows: list[list[Cell]] = [
        ["windows", count],
        ["called marked", int((scores >= limit).sum())],
        ["rate, at most (rule of three, 95 %)", 3 / count],
        ["score from which a picture counts as marked", limit],
        ["score: median", float(np.median(scores))],
        ["score: 99 % below", float(np.quantile(scores, 0.99))],
        ["score: highest", float(scores[-1])],
        ["rate by Gumbel's distribution through mean and deviation", f"{beyond:.1e}"],
    ]
    return Table("Windows without a mark", ["", ""], rows)


def found_clips() -> list[Path]:
    """One of the demo's, one of the rendered people's, and the real ones, of those that are there."""
    real = [path for name in REAL for path in sorted(FOOTAGE.glob(f"*/**/{name}.mp4"))]
    people = clips.PEOPLE / "man_woman_target.mp4"
    missing = {"people": not people.is_file(), "footage": not real}
    if any(missing.values()):
        how = " and ".join(f"`make {what}`" for what, lacks in missing.items() if lacks)
        print(f"Measured without the clips that {how} would bring.", flush=True)
    return [path for path in (clips.clip_of("a"), people, *real) if path.is_file()]


def measure(wanted: Options) -> Result:
    """All tables."""
    given = (wanted.clips or found_clips())[: 1 if wanted.quick else None]
    frames, count, rounds = (3, 6, 2) if wanted.quick else (48, 500, 50)
    tables = [*treat(given, frames), sizes(given[-1], frames // 2), cost(given[0], rounds), unmarked(given, count)]
    return Result(
        "mark",
        "Does the invisible mark last, and is it found where there is none?",
        f"{frames} frames of each clip, made 720 pixels high, with and without the mark, through each treatment"
        " (libx264, preset medium), then read; confidence is minus the decimal logarithm of how probable a false alarm"
        " is, at most.",
        tables,
        notes=[f"A clip counts as marked from a confidence of {SURE:g}."],
    )


def main() -> None:
    """Measure and save."""
    wanted = common.options(__doc__)
    common.save(measure(wanted), wanted)


if __name__ == "__main__":
    main()
