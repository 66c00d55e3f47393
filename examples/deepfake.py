"""A deepfake on one page: the classic way, top to bottom, nothing else.

    python examples/deepfake.py [MINUTES]

One encoder learns what two persons have in common: pose, expression, light. Each of two decoders learns how one person
looks. Encode a frame of person B, decode it with A's decoder, and A does what B did: the "deepfakes" autoencoder of
2017. Here A and B are synthetic; for clips of your own, of people who agreed, change the constants below.
"""

import hashlib
import sys
import time
from contextlib import suppress
from pathlib import Path

import av
import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import clearswap
from clearswap.disclosure.credentials import Statement, sign
from clearswap.disclosure.signer import load_signer
from clearswap.disclosure.stamp import make_stamp
from clearswap.faces.face_models import Detector, Landmarker
from clearswap.faces.tracker import TrackConfig, Tracker

CLIPS = Path(clearswap.__file__).parent / "demo_clips"
CLIP_A, CLIP_B = CLIPS / "person_a.mp4", CLIPS / "person_b.mp4"  # whose face is put in; the video that is changed
BASIS = "synthetic"  # on what basis both are shown, for the credentials; real people: "agreed" or "me"
OUT = Path("deepfake")  # the folder for weights, preview and video
MINUTES = 20.0  # of training; Q in the preview or Ctrl-C ends it earlier, the next run goes on
SIZE = 64  # pixels of the square that the network sees and draws
MARGIN = 8  # pixels around it in the aligned faces: room for turns and shifts
BATCH = 16  # faces of each person in a step
LEARNING_RATE = 5e-5
ROTATION, ZOOM, SHIFT = 5.0, 0.03, 0.02  # largest random turn (degrees), change of size, shift (shares of the square)
WARP = 0.04  # how far the points of the bent grid move, as a share of the square
FEATHER = 0.08  # width of the mask's soft edge, as a share of the square
SAVE_EVERY = 100  # iterations
PREVIEW_SECONDS = 5.0
DEVICE = torch.accelerator.current_accelerator() or torch.device("cpu")

# ---- 1 Align: every face upright, of one size, in the same place of a square -----------------------------------------

# The eyes' corners, the tip of the nose, the corners of the mouth: their numbers among the 478 landmarks, and where
# they lie in the mean face (dlib's, Boost licence), in shares of the square.
POINTS = [33, 133, 362, 263, 1, 61, 291]
PLACES = [[0.27, 0.355], [0.40, 0.355], [0.60, 0.355], [0.73, 0.355], [0.5, 0.54], [0.352, 0.706], [0.648, 0.706]]


def face_matrix(landmarks, size, margin=0):
    """The (2, 3) matrix that turns, scales and shifts a face into a square of `size` pixels with a margin around it.

    The best similarity in the sense of least squares (S. Umeyama, PAMI 1991): whatever else would change proportions.
    """
    points, wanted = landmarks[POINTS].astype(np.float64), np.array(PLACES) * size + margin
    centre, goal = points.mean(0), wanted.mean(0)
    u, strength, vt = np.linalg.svd((wanted - goal).T @ (points - centre) / len(points))
    signs = np.array([1.0, np.sign(np.linalg.det(u @ vt))])  # never mirror
    rotation = (u * signs) @ vt
    scale = (strength * signs).sum() / (points - centre).var(0).sum()
    return np.column_stack([scale * rotation, goal - scale * rotation @ centre])


def align(frame, matrix, size):
    """Cut the square (size, size, 3) out of a frame (H, W, 3)."""
    return cv2.warpAffine(frame, matrix, (size, size), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)


def find_faces(clip):
    """Yield each frame (H, W, 3) of a clip with the landmarks (478, 2) of its largest face, or None."""
    tracker = Tracker(TrackConfig(), Detector(), Landmarker())
    with av.open(str(clip)) as container:
        for picture in (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)):
            faces = tracker(picture)
            yield picture, faces[0].landmarks if faces else None


def aligned_faces(clip):
    """All faces of a clip, (N, 3, SIZE + 2 * MARGIN, SIZE + 2 * MARGIN) in 0..1."""
    found = ((frame, points) for frame, points in find_faces(clip) if points is not None)
    faces = [align(frame, face_matrix(points, SIZE, MARGIN), SIZE + 2 * MARGIN) for frame, points in found]
    return torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2).float().to(DEVICE) / 255


# ---- 2 Network: one encoder for both, one decoder for each; 82 million parameters ------------------------------------
def downsample(channels, out):
    """Half the side, more channels."""
    return nn.Sequential(nn.Conv2d(channels, out, 5, stride=2, padding=2), nn.LeakyReLU(0.1))


def upsample(channels, out):
    """Twice the side: four times the channels, folded out into 2x2 pixels each."""
    return nn.Sequential(nn.Conv2d(channels, 4 * out, 3, padding=1), nn.LeakyReLU(0.1), nn.PixelShuffle(2))


class Autoencoder(nn.Module):
    """As everybody knows it, layer for layer."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(  # (B, 3, 64, 64)
            downsample(3, 128),  # (B, 128, 32, 32)
            downsample(128, 256),  # (B, 256, 16, 16)
            downsample(256, 512),  # (B, 512, 8, 8)
            downsample(512, 1024),  # (B, 1024, 4, 4)
            nn.Flatten(),
            nn.Linear(1024 * 4 * 4, 1024),  # the bottleneck: the whole face in 1,024 numbers
            nn.Linear(1024, 1024 * 4 * 4),
            nn.Unflatten(1, (1024, 4, 4)),
            upsample(1024, 512),  # the latent: (B, 512, 8, 8)
        )
        self.decoders = nn.ModuleDict({person: self.decoder() for person in "ab"})

    def decoder(self):
        """The latent (B, 512, 8, 8) to a face (B, 3, 64, 64) in 0..1."""
        layers = [upsample(512, 256), upsample(256, 128), upsample(128, 64), nn.Conv2d(64, 3, 5, padding=2)]
        return nn.Sequential(*layers, nn.Sigmoid())

    def forward(self, faces, person):
        """Draw faces (B, 3, 64, 64) of anybody as `person`, "a" or "b". This line is the swap."""
        return self.decoders[person](self.encoder(faces))


# ---- 3 Warp: the network sees bent faces and must draw straight ones, so that it cannot learn them by heart ----------
def random_pair(faces):
    """A batch of what the network sees, and one of what it must draw, both (BATCH, 3, SIZE, SIZE)."""
    chosen = faces[torch.randint(len(faces), (BATCH,))]
    turn, zoom, right, down = 2 * torch.rand(4, BATCH, device=DEVICE) - 1  # -1 to 1
    mirror = torch.randint(2, (BATCH,), device=DEVICE) * 2 - 1
    angle, scale = torch.deg2rad(ROTATION * turn), (1 + ZOOM * zoom) * SIZE / (SIZE + 2 * MARGIN)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    rows = [torch.stack([mirror * cos, -sin, SHIFT * right], 1), torch.stack([mirror * sin, cos, SHIFT * down], 1)]
    straight = F.affine_grid(torch.stack(rows, 1), [BATCH, 3, SIZE, SIZE], align_corners=False)
    points = 2 * WARP * torch.randn(BATCH, 2, 5, 5, device=DEVICE)  # 5x5 points move, the pixels between them follow
    bend = F.interpolate(points, SIZE, mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    grids = (straight + bend, straight)
    return [F.grid_sample(chosen, grid, padding_mode="border", align_corners=False) for grid in grids]


# ---- 4 Train: until the time is over, or Q is pressed in the preview -------------------------------------------------
class Preview:
    """A picture of how far it is, in a window where there is a screen, and in the file preview.jpg."""

    def __init__(self):
        self.window, self.stopped = None, False
        with suppress(Exception):  # no tkinter or no screen: the file alone
            import tkinter

            self.window, self.to_picture = tkinter.Tk(), tkinter.PhotoImage
            self.window.bind("q", lambda _: setattr(self, "stopped", True))
            self.shown = tkinter.Label(self.window)
            self.shown.pack()

    @torch.no_grad()
    def show(self, model, faces):
        """Rows of six faces: a, a drawn as a, a drawn as b; b, b drawn as b, b drawn as a."""
        rows = []
        for person, other in ("ab", "ba"):
            some = faces[person][:: len(faces[person]) // 6][:6, :, MARGIN:-MARGIN, MARGIN:-MARGIN]
            rows += [torch.cat(list(x), 2) for x in (some, model(some, person), model(some, other))]
        pixels = (255 * torch.cat(rows, 1)).byte().permute(1, 2, 0).cpu().numpy()[..., ::-1]  # BGR for OpenCV
        large = cv2.resize(pixels, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(OUT / "preview.jpg"), large)
        if self.window:
            self.picture = self.to_picture(data=cv2.imencode(".png", large)[1].tobytes())
            self.shown.configure(image=self.picture)

    def asks_to_stop(self):
        """Let the window work; whether Q was pressed in it."""
        if self.window:
            self.window.update()
        return self.stopped


def train(faces, minutes):
    """Train on the faces of both persons, {"a": ..., "b": ...}; goes on with the weights that are there."""
    model, weights, preview = Autoencoder().to(DEVICE), OUT / "weights.pt", Preview()
    if weights.is_file():
        model.load_state_dict(torch.load(weights, map_location=DEVICE, weights_only=True))
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE, betas=(0.5, 0.999), fused=True)
    iteration, next_preview, end = 0, 0.0, time.monotonic() + 60 * minutes
    with suppress(KeyboardInterrupt):
        while time.monotonic() < end and not preview.asks_to_stop():
            optimizer.zero_grad()
            losses = {}
            for person in "ab":
                bent, straight = random_pair(faces[person])
                losses[person] = F.l1_loss(model(bent, person), straight)
            sum(losses.values()).backward()
            optimizer.step()
            iteration += 1
            if iteration % SAVE_EVERY == 0:
                torch.save(model.state_dict(), weights)
            if time.monotonic() >= next_preview:
                preview.show(model, faces)
                print(f"iteration {iteration}: loss a {losses['a']:.4f}, b {losses['b']:.4f}", flush=True)
                next_preview = time.monotonic() + PREVIEW_SECONDS
    torch.save(model.state_dict(), weights)
    preview.show(model, faces)
    return model


# ---- 5 Convert: draw every frame's face as the other person, match its colours, blend it in, say that it is made -----
@torch.no_grad()
def swap_face(frame, landmarks, model):
    """A frame (H, W, 3) in bytes with person a's face in the place of the one at `landmarks` (478, 2)."""
    matrix = face_matrix(landmarks, SIZE)
    aligned = align(frame, matrix, SIZE)
    seen = torch.from_numpy(aligned).to(DEVICE).permute(2, 0, 1)[None].float() / 255
    patch = 255 * model(seen, "a")[0].permute(1, 2, 0).cpu().numpy()
    hull = cv2.convexHull(cv2.transform(landmarks[None], matrix)[0].round().astype(np.int32))
    mask = cv2.fillConvexPoly(np.zeros((SIZE, SIZE), np.uint8), hull, 255)
    mask[[0, -1]] = mask[:, [0, -1]] = 0  # a face that leaves the square fades out in it, too
    soft = (cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_5) / (FEATHER * SIZE)).clip(0, 1)[..., None]
    drawn, there = patch[mask > 0], aligned[mask > 0]  # colours: mean and spread as in the frame (Reinhard 2001)
    patch = (patch - drawn.mean(0)) * (there.std(0) / drawn.std(0).clip(1)) + there.mean(0)
    both = np.dstack([patch, soft]).astype(np.float32)  # back to where it came from, the mask with it
    back = cv2.warpAffine(both, matrix, frame.shape[1::-1], flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
    alpha = back[..., 3:].clip(0, 1)
    return (alpha * back[..., :3] + (1 - alpha) * frame).round().clip(0, 255).astype(np.uint8)


def convert(model, output):
    """Swap every face of CLIP_B, without the sound. Every frame is marked and labelled, the file is signed."""
    fingerprint = hashlib.sha256((OUT / "weights.pt").read_bytes()).hexdigest()
    said = Statement(fingerprint, int(fingerprint[:4], 16), {person: {"basis": BASIS} for person in "ab"})
    unsigned = OUT / "unsigned.mp4"
    with av.open(str(CLIP_B)) as clip, av.open(str(unsigned), "w") as out:
        given = clip.streams.video[0]
        video = out.add_stream("libx264", rate=given.average_rate, options={"crf": "16"})
        video.width, video.height, video.pix_fmt = given.width, given.height, "yuv420p"
        stamp = make_stamp((given.height, given.width), said.mark)
        for frame, landmarks in find_faces(CLIP_B):
            swapped = frame if landmarks is None else swap_face(frame, landmarks, model)
            out.mux(video.encode(av.VideoFrame.from_ndarray(stamp(swapped, frame), format="rgb24")))
        out.mux(video.encode())
    sign(unsigned, output, CLIP_B, load_signer(), said)
    unsigned.unlink()


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    minutes = float(sys.argv[1]) if sys.argv[1:] else MINUTES
    convert(train({"a": aligned_faces(CLIP_A), "b": aligned_faces(CLIP_B)}, minutes), OUT / "swapped.mp4")
    print(f"the swap: {OUT / 'swapped.mp4'}; how far the training is: {OUT / 'preview.jpg'}")
