"""Stages that overlap: while one frame is encoded, the next is swapped and the one after is decoded.

Each stage is a plain generator. `ahead` runs one in a thread of its own and hands its items over through a
queue of bounded length, so memory does not grow with the length of a video. An error in a stage surfaces in
the consumer, and a consumer that stops early stops the stage: nothing hangs.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class _End:
    """What a stage puts into the queue last: its error, if it had one."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def ahead(items: Iterable[Item], depth: int = 8) -> Generator[Item, None, None]:
    """Yield `items`, computed in a background thread at most `depth` items ahead of the consumer."""
    ready: queue.Queue[Item | _End] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: Item | _End) -> bool:
        while not stopped.is_set():
            with suppress(queue.Full):
                ready.put(item, timeout=0.1)
                return True
        return False

    def work() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                if not put(item):
                    break
        except BaseException as caught:  # whatever it is, the consumer must see it
            error = caught
        finally:
            if isinstance(items, Generator):
                items.close()
        put(_End(error))

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        stopped.set()
        worker.join()


def map_ahead(work: Callable[[Item], Result], items: Iterable[Item], workers: int = 2) -> Generator[Result]:
    """`map(work, items)` on a few threads, in order, with at most `2 * workers` items under way."""
    with ThreadPoolExecutor(workers) as pool:
        running: deque[Future[Result]] = deque()
        try:
            for item in items:
                running.append(pool.submit(work, item))
                if len(running) >= 2 * workers:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """`items` in lists of `size`; the last may be shorter."""
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch
