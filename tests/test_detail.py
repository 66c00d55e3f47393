"""Real detail: a person's own pixels go where the drawing has its own, agree with it, and come from a file that is
believed in nothing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file  # pyright: ignore[reportUnknownVariableType]

import clearswap
from clearswap.api.convert import load_cast
from clearswap.api.second_pass import SecondPass
from clearswap.core.align import SmoothConfig, align, face_matrix
from clearswap.core.blend import BlendConfig, MaskConfig, colour_stats, hull
from clearswap.core.detail import (
    SIDE,
    DetailStore,
    FaceDetail,
    Shares,
    Warp,
    agreement,
    choose_faces,
    faded,
    find_layer,
    lay_over,
)
from clearswap.core.expression import MEASURES
from clearswap.core.network import PRESETS, Drawn
from clearswap.core.swap import NewFace, Swapper, with_look
from clearswap.disclosure.stamp import LabelConfig, make_stamp
from clearswap.errors import ModelError
from clearswap.faces.faceset import read_index
from clearswap.faces.first_pass import FacesWriter, find_faces
from clearswap.faces.selection import Role, SelectConfig, choose
from clearswap.faces.tracker import TrackConfig
from clearswap.media.files import read_picture
from clearswap.media.video import read_frames
from clearswap.progress import silent
from clearswap.training import checkpoint, detail_store, detail_writer

LITE = PRESETS["lite"]
WHOLE = np.ones((SIDE, SIDE), np.float32)


@pytest.fixture(scope="module")
def store(faces_small_a: Path, tmp_path_factory: pytest.TempPathFactory) -> DetailStore:
    """The first synthetic person's faces, as a model would keep them."""
    folder = tmp_path_factory.mktemp("store")
    detail_writer.keep_store(folder, "a", faces_small_a, read_index(faces_small_a), LITE)
    found = detail_store.read_store(folder, "a", LITE)
    assert found is not None
    return found


def as_drawn(face: np.ndarray, sigma: float) -> np.ndarray:
    """A face as a network draws it: soft."""
    return cv2.GaussianBlur(face.astype(np.float32) / 255, (0, 0), sigma)


def sharpness(picture: np.ndarray) -> float:
    edges = np.asarray(cv2.Laplacian(picture.mean(-1), cv2.CV_32F), np.float32)
    return float(np.abs(edges)[60:200, 60:200].mean())


def middle_of(points: np.ndarray) -> tuple[int, int]:
    x, y = points.mean(0).round().astype(int).tolist()
    return x, y


def alone(number: int) -> Shares:
    return Shares({number: 1.0}, {number: 1.0})


def add_detail(drawn: np.ndarray, mask: np.ndarray, detail: FaceDetail, share: float) -> np.ndarray:
    return lay_over(drawn, find_layer(drawn, mask, detail), share)


def test_a_face_warped_to_its_own_landmarks_is_the_face(store: DetailStore) -> None:
    warped, trust = Warp(store.triangles, store.landmarks[3])(store.faces[3], store.landmarks[3])
    assert np.abs(warped.astype(int) - store.faces[3]).mean() < 0.5
    area = hull(store.landmarks[3], SIDE)[::2, ::2]
    assert trust[area > 0].mean() > 0.9


def test_warping_moves_what_a_landmark_shows_where_it_is_wanted(store: DetailStore) -> None:
    marked = store.faces[3].copy()
    x, y = middle_of(store.landmarks[3, [4]])  # the tip of the nose
    cv2.circle(marked, (x, y), 3, (0, 255, 0), -1)
    faces = store.faces.copy()
    faces[3] = marked
    wanted = store.landmarks[3] + np.array([9, -6], np.float32)
    warped, _ = Warp(store.triangles, wanted)(faces[3], store.landmarks[3])
    green = (warped[..., 1] > 200) & (warped[..., 0] < 90) & (warped[..., 2] < 90)
    assert np.allclose(np.argwhere(green).mean(0)[::-1], store.landmarks[3, 4] + [9, -6], atol=1.5)


def test_what_would_be_stretched_out_of_nothing_is_not_trusted(store: DetailStore) -> None:
    wanted = store.landmarks[3].copy()
    wanted[:, 0] = SIDE - wanted[:, 0]  # inside out
    assert Warp(store.triangles, wanted)(store.faces[3], store.landmarks[3])[1][40:90, 40:90].mean() < 0.2


def test_a_soft_drawing_becomes_sharp_and_keeps_its_light(store: DetailStore) -> None:
    drawn = as_drawn(store.faces[5], 4) * np.float32(0.6)
    result = add_detail(drawn, WHOLE, FaceDetail(store, alone(6), store.landmarks[5]), 1.0)
    assert sharpness(result) > 2 * sharpness(drawn)
    assert np.abs(cv2.blur(result, (31, 31)) - cv2.blur(drawn, (31, 31))).max() < 0.03
    half = add_detail(drawn, WHOLE, FaceDetail(store, alone(6), store.landmarks[5]), 0.5)
    assert sharpness(drawn) < sharpness(half) < sharpness(result)


def test_a_larger_drawing_keeps_its_size_and_what_it_knows_and_gets_the_detail(store: DetailStore) -> None:
    """`hd` draws 384 px: fitted into a frame of just that size, nothing is lost on the way."""
    side = 384
    large = np.asarray(cv2.resize(store.faces[5], (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)
    drawn = as_drawn(large, 6)
    drawn[::2, :20] += np.float32(0.1)  # lines of a single pixel, which 256 px cannot hold, away from the face
    detail = FaceDetail(store, alone(6), store.landmarks[5])
    patch, mask = torch.from_numpy(drawn).permute(2, 0, 1), np.ones((side, side), np.float32)
    stats = colour_stats(patch[None], torch.ones(1, 1, side, side), "reinhard")[0]
    face = NewFace(patch, mask, drawn, stats, stats, np.eye(2, 3), detail)
    model = replace(LITE, size=side)

    def fitted(share: float) -> np.ndarray:
        blend = BlendConfig(colour_method="none", sharpen=0, grain=0, detail=share)
        swapper = Swapper(lambda aligned, _: Drawn(aligned), model, torch.device("cpu"), blend=blend)
        given = face if share else replace(face, detail=None)
        return swapper.fit(large, [given], seed=0).astype(np.float32) / 255

    plain, detailed = fitted(0), fitted(1)
    assert detailed.shape == (side, side, 3)
    assert np.abs(plain - drawn).max() < 0.01
    assert sharpness(detailed) > 1.5 * sharpness(plain)
    lines = detailed[::2, 4:16] - detailed[1::2, 4:16]
    assert lines.mean() > 0.07
    assert np.abs(cv2.blur(detailed, (47, 47)) - cv2.blur(plain, (47, 47))).max() < 0.03


def test_the_drawing_stays_where_picture_and_drawing_disagree(store: DetailStore) -> None:
    drawn = as_drawn(store.faces[5], 3)
    other = drawn.copy()
    x, y = middle_of(store.landmarks[5, [33, 133]])  # another eye in the place of this one
    box = np.s_[y - 14 : y + 14, x - 24 : x + 24]
    other[box] = 1 - other[box]
    real = store.faces[5].astype(np.float32) / 255
    alike, unlike = agreement(drawn, real), agreement(other, real)
    small = np.s_[y // 2 - 4 : y // 2 + 4, x // 2 - 8 : x // 2 + 8]
    assert alike[small].mean() > 0.8
    assert unlike[small].mean() < 0.2
    result = add_detail(other, WHOLE, FaceDetail(store, alone(5), store.landmarks[5]), 1.0)
    assert np.abs(result - other)[y - 6 : y + 6, x - 12 : x + 12].mean() < 0.02


def test_nothing_is_added_at_the_edge_of_the_mask(store: DetailStore) -> None:
    drawn, mask = as_drawn(store.faces[5], 4), WHOLE.copy()
    mask[:, :128] = 0.3
    result = add_detail(drawn, mask, FaceDetail(store, alone(5), store.landmarks[5]), 1.0)
    assert np.array_equal(result[:, :120], drawn[:, :120])
    assert not np.array_equal(result[:, 136:], drawn[:, 136:])


def test_the_chosen_face_is_near_changes_seldom_and_fades(store: DetailStore) -> None:
    random = np.random.default_rng(1)
    calm = np.repeat(store.expressions[[2, 9, 17]], 30, 0)
    trembling = calm + random.normal(0, 0.05, calm.shape).astype(np.float32)
    for part in ("eyes", "mouth"):
        path = choose_faces(trembling, store, part)
        assert path.dtype == np.int64
        assert (np.diff(path) != 0).sum() == 2
        assert [path[10], path[40], path[70]] == [2, 9, 17]
        assert np.array_equal(choose_faces(trembling, store, part), path)
    steps = faded(path)
    assert steps[10] == {2: 1.0}
    assert all(len(step) <= 2 for step in steps)
    assert all(sum(step.values()) == pytest.approx(1) for step in steps)
    shares = np.array([step.get(9, 0.0) for step in steps[26:35]])
    assert (np.diff(shares) >= 0).all()
    assert np.diff(shares).max() < 0.5


def test_a_store_holds_varied_faces_that_nothing_covers(faces_small_a: Path, tmp_path: Path) -> None:
    faces = tmp_path / "faces"
    shutil.copytree(faces_small_a, faces)
    records = read_index(faces)
    for record in records[:6]:
        cv2.imwrite(str(faces / f"{Path(record.file).stem}.mask.png"), np.zeros((256, 256), np.uint8))
    assert detail_writer.keep_store(tmp_path, "b", faces, records, LITE)
    assert not detail_writer.keep_store(tmp_path, "b", faces, records, LITE)  # nothing has changed
    assert detail_writer.keep_store(tmp_path, "b", faces, records[:-1], LITE)  # a picture was deleted
    assert detail_writer.keep_store(tmp_path, "b", faces, records, LITE)
    kept = detail_store.read_store(tmp_path, "b", LITE)
    assert kept is not None
    assert 10 <= len(kept) <= 18
    covered = {record.expression().tobytes() for record in records[:6]}
    assert not covered & {one.tobytes() for one in kept.expressions}
    few = detail_writer.varied(records, 8)
    assert len(few) == 8
    assert [records.index(one) for one in few] == sorted(records.index(one) for one in few)


def hostile(name: str, change: Callable[[dict[str, np.ndarray]], object]) -> object:
    return pytest.param(change, id=name)


@pytest.mark.parametrize(
    "change",
    [
        hostile("no number", lambda t: t["landmarks"].__setitem__((0, 0, 0), np.nan)),
        hostile("far away", lambda t: t["landmarks"].__setitem__((0, 0, 0), 1e9)),
        hostile("too few", lambda t: t.update(landmarks=t["landmarks"][:-1])),
        hostile("infinite", lambda t: t["expressions"].__setitem__((0, 0), np.inf)),
        hostile("other kind", lambda t: t.update(expressions=t["expressions"].astype(np.float64))),
        hostile("other numbers", lambda t: t.update(expressions=np.zeros((len(t["ends"]), MEASURES + 1), np.float32))),
        hostile("backwards", lambda t: t.update(ends=t["ends"][::-1].copy())),
        hostile("past the end", lambda t: t["ends"].__setitem__(-1, 1 << 40)),
        hostile("nobody", lambda t: t.update(ends=np.zeros(0, np.int64))),
        hostile("one more", lambda t: t.update(more=np.zeros(3, np.float32))),
        hostile("one less", lambda t: t.pop("landmarks")),
        hostile("no pictures", lambda t: t["pictures"].fill(7)),
    ],
)
def test_a_spoiled_store_is_refused_in_one_sentence(
    change: Callable[[dict[str, np.ndarray]], object], faces_small_a: Path, tmp_path: Path
) -> None:
    detail_writer.keep_store(tmp_path, "a", faces_small_a, read_index(faces_small_a), LITE)
    path = detail_store.store_path(tmp_path, "a")
    tensors = {name: value.copy() for name, value in load_file(path).items()}
    change(tensors)
    about = {"format": 1, "coverage": LITE.coverage, "drop": LITE.drop, "set": ""}
    save_file(tensors, path, {"clearswap": json.dumps(about)})
    with pytest.raises(ModelError, match=r"detail_a\.safetensors .*delete it"):
        detail_store.read_store(tmp_path, "a", LITE)


def test_a_huge_picture_or_a_cut_file_is_refused(faces_small_a: Path, tmp_path: Path) -> None:
    detail_writer.keep_store(tmp_path, "a", faces_small_a, read_index(faces_small_a), LITE)
    path = detail_store.store_path(tmp_path, "a")
    whole = path.read_bytes()
    with pytest.raises(ModelError, match="framing"):
        detail_store.read_store(tmp_path, "a", replace(LITE, coverage=0.9))
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="delete it"):
        detail_store.read_store(tmp_path, "a", LITE)
    done, large = cv2.imencode(".jpg", np.zeros((4000, 4000, 3), np.uint8))
    assert done
    path.write_bytes(whole)
    tensors = load_file(path)
    ends = np.array([len(large)], np.int64)
    one = {"pictures": large, "ends": ends, "landmarks": tensors["landmarks"][:1]}
    about = {"format": 1, "coverage": LITE.coverage, "drop": LITE.drop, "set": ""}
    save_file(one | {"expressions": tensors["expressions"][:1]}, path, {"clearswap": json.dumps(about)})
    with pytest.raises(ModelError, match="another size"):
        detail_store.read_store(tmp_path, "a", LITE)


def test_training_keeps_the_stores_and_a_conversion_uses_them(
    model: Path, demo_clips: Path, tmp_path: Path, faces_b: Path
) -> None:
    config, _ = checkpoint.read_about(model)
    assert detail_store.read_store(model, "a", config) is not None
    assert detail_store.read_store(model, "b", config) is not None
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(model / checkpoint.FILE, bare)
    record = read_index(faces_b)[10]
    frame = next(f for f in read_frames(demo_clips / "person_b.mp4") if f.index == record.frame)
    picture = tmp_path / "frame.png"
    cv2.imwrite(str(picture), frame.picture[..., ::-1])
    notes: dict[str, list[str]] = {"real": [], "bare": [], "drawn": []}
    results: dict[str, np.ndarray] = {}
    for name, folder in (("real", model), ("bare", bare), ("drawn", model)):
        blend = with_look("drawn" if name == "drawn" else "natural", MaskConfig(), BlendConfig())[1]
        output = tmp_path / f"{name}.png"
        clearswap.convert(
            folder,
            picture,
            output,
            to="a",
            blend=blend,
            on_progress=lambda p, kept=notes[name]: kept.append(p.note) if p.note else None,
        )
        results[name] = read_picture(output)
    assert sum("no pictures of person a" in note for note in notes["bare"]) == 1
    assert not any("no pictures" in note for note in notes["real"] + notes["drawn"])
    assert np.array_equal(results["bare"], results["drawn"])
    matrix = face_matrix(record.landmarks, SIDE)
    real, drawn = (align(results[name], matrix, SIDE).astype(np.float32) / 255 for name in ("real", "drawn"))
    assert sharpness(real) > 1.1 * sharpness(drawn)


def test_a_frame_comes_out_alike_wherever_a_conversion_begins(model: Path, demo_clips: Path, tmp_path: Path) -> None:
    configs = SelectConfig(), MaskConfig(), BlendConfig(), TrackConfig()
    cast = load_cast([Role(model, "a")], [checkpoint.open_model(model)], *configs, silent)
    frames = [frame for frame in read_frames(demo_clips / "person_b.mp4") if frame.index < 26]
    writer = FacesWriter(tmp_path, 1)
    for _ in find_faces(frames, cast.finder, writer, name="clip", total=len(frames), on_progress=silent):
        pass
    faces = writer.close()
    stamp = make_stamp(frames[0].picture.shape[:2], 1, marked=True, label=LabelConfig(label=False), boxes=faces.box)
    second_pass = SecondPass(faces, choose(faces, cast.finder.which), cast.swappers, SmoothConfig(), stamp)
    whole, rest = ([frame.picture for frame in second_pass(iter(frames), start)] for start in (0, 13))
    assert len(whole) == len(frames)
    assert all(np.array_equal(one, other) for one, other in zip(whole[13:], rest, strict=True))
