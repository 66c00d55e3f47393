"""Stages that overlap: while one frame is encoded, the next is swapped and the one after is decoded.

Each stage is a plain generator, and `ahead` runs one in a thread of its own. It is never more than a few items ahead,
so memory does not grow with the length of a video. An error in a stage surfaces in the consumer, and a consumer that
stops early stops the stage: nothing hangs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from threading import Semaphore
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(items: Iterable[Item], depth: int = 8) -> Generator[Item, None, None]:
    """Yield `items`, computed in a background thread at most `depth` items ahead of the consumer."""
    source, pool, free = iter(items), ThreadPoolExecutor(1), Semaphore()

    def take() -> list[Item]:
        with free:
            return list(islice(source, 1))

    try:
        coming = deque(pool.submit(take) for _ in range(depth))
        while item := coming.popleft().result():  # an empty list at the end
            coming.append(pool.submit(take))
            yield item[0]
    finally:
        _end(pool, free)  # waits for the item that is being computed
        if isinstance(items, Generator):
            items.close()


def map_ahead(work: Callable[[Item], Result], items: Iterable[Item], workers: int = 2) -> Generator[Result]:
    """`map(work, items)` on a few threads, in order, with at most `2 * workers` items under way."""
    pool, free = ThreadPoolExecutor(workers), Semaphore(workers)
    running: deque[Future[Result]] = deque()

    def work_on(item: Item) -> Result:
        with free:
            return work(item)

    try:
        for item in items:
            running.append(pool.submit(work_on, item))
            if len(running) >= 2 * workers:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        _end(pool, free, workers)


def _end(pool: ThreadPoolExecutor, free: Semaphore, workers: int = 1) -> None:
    """Drop what is not begun, and wait for what is. Ctrl-C within `submit` can leave a thread that the pool does not
    know of and so does not wait for: the semaphore does.
    """
    pool.shutdown(cancel_futures=True)
    for _ in range(workers):
        free.acquire()


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """`items` in lists of `size`; the last may be shorter."""
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch


def windows(items: Iterable[Item], reach: int) -> Iterator[tuple[list[Item], int]]:
    """For each item: itself with up to `reach` items before and after it, and its place in that list."""
    held: deque[Item] = deque(maxlen=2 * reach + 1)
    for item in items:
        held.append(item)
        if len(held) > reach:
            yield list(held), len(held) - 1 - reach
    rest = list(held)
    for at in range(max(0, len(rest) - reach), len(rest)):
        yield rest[max(0, at - reach) :], min(at, reach)
