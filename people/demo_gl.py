"""Draws the demo people: a small OpenGL renderer (any OpenGL 3.3, a CPU one such as llvmpipe will do).

Every mesh has the same vertex layout of 13 floats: place, normal, rest (what the paint hangs on)
and four extra values that each material reads in its own way (see the comments at the materials).
"""

from dataclasses import dataclass

import cv2
import moderngl
import numpy as np
from numpy.typing import NDArray

from demo_head import Array, Ints
from demo_shaders import COMMON, HAIRY, LABEL, LABELS, MATERIALS, VERTEX, lit_by_vertex

SAMPLE_ALPHA_TO_COVERAGE = 0x809E  # lets lash and hair edges melt without sorting
SHADOW_SIZE = 1024


@dataclass
class Mesh:
    """What one material draws."""

    material: str
    vertices: Array  # (P, 13) place, normal, rest, extra
    triangles: Ints  # (T, 3)
    tint: tuple[tuple[float, float, float], ...] = ()
    knob: tuple[float, ...] = ()
    paint: str = ""
    in_head: bool = False  # given in the head's own axes: the graphics side turns it
    keep: bool = False  # never changes: uploaded once
    shadow: bool = False  # casts a shadow


@dataclass(frozen=True)
class Light:
    """The light of a frame: a key light that moves, and the soft light of the room."""

    azimuth: float  # degrees, from the camera towards the picture's right
    height: float  # degrees
    strength: float
    room: float = 1.0  # share of the room's own light that is on


def vertices(place: Array, normal: Array, rest: Array, *extra: Array | float) -> Array:
    """Put columns in the common layout, (P, 13) float32."""
    table = np.zeros((len(place), 13), np.float32)
    table[:, :9] = np.concatenate([place, normal, rest], 1)
    for i, column in enumerate(extra):
        table[:, 9 + i] = column
    return table


def _look_at(eye: Array, at: Array) -> Array:
    back = (eye - at) / np.linalg.norm(eye - at)
    right = np.cross([0, 1, 0], back)
    right /= np.linalg.norm(right)
    view = np.eye(4)
    view[:3, :3] = [right, np.cross(back, right), back]
    view[:3, 3] = -view[:3, :3] @ eye
    return view


def _gl(matrix: Array) -> bytes:
    return np.ascontiguousarray(matrix.T, np.float32).tobytes()


class Renderer:
    """Holds the graphics memory; ``draw`` turns one scene into one picture."""

    MIDDLE = np.array([0.0, 7.16, 0.9])

    def __init__(self, width: int, height: int, span: float = 3.5, *, larger: int = 2) -> None:
        """``span``: see ``set_camera``. Pictures are drawn ``larger`` so many times with 4 samples, then averaged."""
        self.width, self.height, self.larger = width, height, larger
        self.context = gl = moderngl.create_standalone_context(backend="egl")  # pyright: ignore[reportArgumentType] (annotated as a dict)
        gl.gc_mode = "auto"  # each frame's buffers go when their last name goes
        shape = (larger * width, larger * height)
        self.canvas = gl.framebuffer([gl.renderbuffer(shape, samples=4)], gl.depth_renderbuffer(shape, samples=4))
        self.flat = gl.framebuffer([gl.renderbuffer(shape)])
        self.depth = gl.depth_texture(shape)
        self.label_pass = gl.framebuffer([gl.renderbuffer(shape)], self.depth)
        self.shadow = gl.depth_texture((SHADOW_SIZE, SHADOW_SIZE))
        self.shadow.compare_func = "<="
        self.shadow.repeat_x = self.shadow.repeat_y = False
        self.shadow_pass = gl.framebuffer(depth_attachment=self.shadow)
        self.programs = {n: self._program(n, COMMON + source) for n, source in MATERIALS.items()}
        for name, source in (("depth", "#version 330\nvoid main() {}"), ("label", COMMON + LABEL)):
            self.programs |= {name: self._program(name, source), name + "_hair": self._program("hair", source)}
        self.paints: dict[str, moderngl.Texture] = {}
        self._kept: dict[tuple[int, str], moderngl.VertexArray] = {}
        self.set_camera(11.0, span)

    def set_camera(self, away: float, span: float) -> None:
        """Look at ``MIDDLE`` from ``away`` dm along z; ``span`` dm of the world there fill the picture's height."""
        self.eye = np.array([0.0, 7.2, away])
        distance = float(np.linalg.norm(self.eye - self.MIDDLE))
        near, far, reach = distance - 4, distance + 6, 2 * distance / span
        self.near_far = near, far
        depth = np.array([far + near, 2 * far * near]) / (near - far)
        lens = np.array([[reach * self.height / self.width, 0, 0, 0], [0, reach, 0, 0], [0, 0, *depth], [0, 0, -1, 0]])
        self.view = lens @ _look_at(self.eye, self.MIDDLE)

    def move_picture(self, move: Array) -> None:
        """Turn, scale and shift what the camera sees by ``move`` (2, 3), in -1..1 of the picture, y up."""
        flat = np.eye(4)
        flat[:2, :2], flat[:2, 3] = move[:, :2], move[:, 2]
        self.view = flat @ self.view

    def _program(self, name: str, fragment: str) -> moderngl.Program:
        vertex = VERTEX.replace("#version 330", "#version 330\n#define HAIR") if name in HAIRY else VERTEX
        if name == "locks":
            vertex, fragment = (source.replace("TAPS", "4") for source in lit_by_vertex(vertex, fragment))
        taps = "12" if name == "skin" else "4"  # hairs overdraw so much that their shadow look-ups took half the time
        return self.context.program(vertex_shader=vertex, fragment_shader=fragment.replace("TAPS", taps))

    def load(self, name: str, picture: Array) -> None:
        """Keep a picture (H, W, C), row 0 lowest, values 0..1, for meshes to name."""
        height, width, channels = picture.shape
        texels = picture.astype(np.float32).tobytes()
        self.paints[name] = self.context.texture((width, height), channels, texels, dtype="f4")
        self.paints[name].repeat_y = False

    def _array(self, mesh: Mesh, program: str) -> moderngl.VertexArray:
        kept = self._kept.get((id(mesh), program))
        if kept is not None:
            return kept
        buffer = self.context.buffer(mesh.vertices.astype(np.float32).tobytes())
        index = self.context.buffer(mesh.triangles.astype(np.uint32).tobytes())
        used = [n for n in ("place", "normal", "rest", "extra") if n in self.programs[program]]
        floats = {"place": 3, "normal": 3, "rest": 3, "extra": 4}
        layout = " ".join(f"{n}f" if name in used else f"{n}x4" for name, n in floats.items())
        array = self.context.vertex_array(self.programs[program], [(buffer, layout, *used)], index_buffer=index)
        if mesh.keep:
            self._kept[id(mesh), program] = array
        return array

    def _set(self, program: str, **values: bytes | tuple[float, ...] | list[tuple[float, ...]] | float) -> None:
        for name, value in values.items():
            uniform = self.programs[program].get(name, None)
            if not isinstance(uniform, moderngl.Uniform):
                continue  # this material does not use it
            if isinstance(value, bytes):
                uniform.write(value)
            else:
                uniform.value = value

    def draw(self, meshes: list[Mesh], light: Light, turn: Array) -> NDArray[np.uint8]:
        """One picture, (H, W, 3) RGB. ``turn`` (4, 4) moves the meshes that are ``in_head``."""
        gl, (side, up) = self.context, np.radians([light.azimuth, light.height])
        key = np.array([np.sin(side) * np.cos(up), np.sin(up), np.cos(side) * np.cos(up)])
        sun = np.diag([1 / 2.3, 1 / 2.3, -1 / 4.0, 1.0]) @ _look_at(self.MIDDLE + 4 * key, self.MIDDLE)
        sun[2, 3] -= 1.0
        gl.enable(moderngl.DEPTH_TEST)
        self.shadow_pass.use()
        self.shadow_pass.clear(depth=1.0)
        for mesh in meshes:
            if mesh.shadow:
                self._draw(mesh, "depth_hair" if mesh.material in HAIRY else "depth", sun, turn, sun, key, light)
        self.canvas.use()
        self.canvas.clear(0, 0, 0, 1, depth=1.0)
        for mesh in meshes:
            if mesh.material == "lash" or (mesh.material == "hair" and not mesh.keep):  # only these melt
                gl.enable_direct(SAMPLE_ALPHA_TO_COVERAGE)
            else:
                gl.disable_direct(SAMPLE_ALPHA_TO_COVERAGE)
            if mesh.material == "lens":  # comes last
                gl.enable(moderngl.BLEND)
            self._draw(mesh, mesh.material, self.view, turn, sun, key, light)
        gl.disable(moderngl.BLEND)
        gl.disable_direct(SAMPLE_ALPHA_TO_COVERAGE)
        gl.copy_framebuffer(self.flat, self.canvas)
        return self._halved(self.flat)

    def labels(self, meshes: list[Mesh], turn: Array) -> tuple[NDArray[np.bool_], Array]:
        """What is seen where, (H, W, 3) of face, occluder, glasses; and the depth buffer, ``larger`` times the size."""
        self.context.enable(moderngl.DEPTH_TEST)
        into, dark = self.label_pass, Light(0, 0, 0)
        into.use()
        into.clear(0, 0, 0, 1, depth=1.0)
        for mesh in meshes:
            if mesh.material not in LABELS:
                continue
            if clear := mesh.material == "lens":  # glass hides nothing: the face behind it stays
                into.color_mask, into.depth_mask = (False, False, True, False), False
            program = "label_hair" if mesh.material in HAIRY else "label"
            self._draw(mesh, program, self.view, turn, np.eye(4), np.zeros(3), dark)
            if clear:
                into.color_mask, into.depth_mask = (True, True, True, True), True
        shape = (self.larger * self.height, self.larger * self.width)
        depth = np.frombuffer(self.depth.read(), np.float32).reshape(shape)[::-1]
        return self._halved(into) > 127, depth

    def _halved(self, source: moderngl.Framebuffer) -> NDArray[np.uint8]:
        shape = (self.larger * self.height, self.larger * self.width, 3)
        wide = np.frombuffer(source.read(components=3), np.uint8).reshape(shape)[::-1]
        small = cv2.resize(np.ascontiguousarray(wide), (self.width, self.height), interpolation=cv2.INTER_AREA)
        return small.astype(np.uint8, copy=False)

    def project(self, points: Array) -> Array:
        """Points (N, 3) of the world as x, y in pixels (centres at whole numbers, y down) and buffer depth, (N, 3)."""
        at = np.c_[points, np.ones(len(points))] @ self.view.T
        x, y, depth = (at[:, :3] / at[:, 3:]).T
        return np.stack([(x + 1) / 2 * self.width - 0.5, (1 - y) / 2 * self.height - 0.5, (depth + 1) / 2], -1)

    def distance(self, depth: Array) -> Array:
        """How far before the camera, in dm, a value of the depth buffer lies."""
        near, far = self.near_far
        away: Array = 2 * far * near / (far + near - (2 * depth - 1) * (far - near))
        return away

    def _draw(self, mesh: Mesh, program: str, view: Array, turn: Array, sun: Array, key: Array, light: Light) -> None:
        back = mesh.material == "back"
        self._set(
            program, view=_gl(np.eye(4) if back else view), turn=_gl(turn if mesh.in_head else np.eye(4)), sun=_gl(sun),
            eye=tuple(self.eye), key=tuple(key), key_colour=tuple(light.strength * np.array([1.0, 0.955, 0.90])),
            sky=(0.40, 0.43, 0.47), room_light=light.room, shadow=1, paint=0,
            knob=(*mesh.knob, 0.0, 0.0, 0.0, 0.0)[:4], label=LABELS.get(mesh.material, (0.0, 0.0, 0.0, 0.0)),
            **{f"tint{i}": colour for i, colour in enumerate(mesh.tint)},
        )  # fmt: skip
        if mesh.paint:
            self.paints[mesh.paint].use(0)
        if not program.startswith("depth"):
            self.shadow.use(1)
        self._array(mesh, program).render()
