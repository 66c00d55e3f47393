"""Record a step of training on a GPU once, and have it repeated: a CUDA graph.

A step is some 2,000 small tasks for a GPU, and to hand them over one by one takes longer than to do them: 36 ms of an
H100's 16 for `hd`. A graph holds them all, with the places of everything they read and write, and is handed over whole.
So nothing that a step does may depend on a number that only Python knows: what changes is in `train_step.Pace`.
(https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs)
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from clearswap.core.train_step import TrainingState
from clearswap.training.device import World

Work = Callable[[], Tensor]
_WARM_UP = 3  # ordinary steps before one is recorded, in which libraries choose their ways and take their memory


def step_runner(state: TrainingState, world: World) -> Callable[[int, Work], Tensor]:
    """How the steps of this training are run: recorded on one NVIDIA GPU, elsewhere each as it comes."""
    if world.device.type == "cuda" and torch.version.cuda and world.size == 1:
        return Recorder(state.generator)
    return lambda _size, work: work()


class Recorder:
    """Runs the same work again and again; from the fourth time on, what it recorded. A new size is recorded anew."""

    def __init__(self, generator: torch.Generator) -> None:
        """`generator` is where the work's random numbers come from."""
        self._generator = generator
        self._size = self._done = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._losses = torch.empty(0)

    def __call__(self, size: int, work: Work) -> Tensor:
        if size != self._size:
            self._size, self._done, self._graph = size, 0, None
        self._done += 1
        if self._done <= _WARM_UP:
            return self._beside(work)
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            self._graph.register_generator_state(self._generator)
            with torch.cuda.graph(self._graph):
                self._losses = work()  # recorded, not done
        self._graph.replay()
        return self._losses.clone()

    def _beside(self, work: Work) -> Tensor:
        """Do the work in another stream, as it will be recorded in one."""
        here, stream = torch.cuda.current_stream(), torch.cuda.Stream()
        stream.wait_stream(here)
        with torch.cuda.stream(stream):
            losses = work()
        here.wait_stream(stream)
        return losses
