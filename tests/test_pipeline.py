"""Stages: in order, never too far ahead, no error lost, nothing left running."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearswap.media.pipeline import ahead, batched, map_ahead


class Trouble(Exception):
    """What a stage fails with in these tests."""


def counting(stop: int, made: list[int], fail_at: int = -1, closed: list[bool] | None = None) -> Iterator[int]:
    try:
        for number in range(stop):
            if number == fail_at:
                raise Trouble(f"at {number}")
            made.append(number)
            yield number
    finally:
        if closed is not None:
            closed.append(True)


def settled(made: list[int]) -> int:
    """How many items were made, once nothing more happens."""
    before = -1
    while len(made) != before:
        before = len(made)
        time.sleep(0.15)
    return before


@settings(max_examples=25)
@given(st.integers(0, 60), st.integers(1, 10))
def test_every_item_comes_in_order(count: int, depth: int) -> None:
    assert list(ahead(counting(count, []), depth)) == list(range(count))
    assert list(ahead(iter(range(count)), depth)) == list(range(count))


@settings(max_examples=25)
@given(st.integers(0, 60), st.integers(1, 4))
def test_a_map_keeps_the_order_though_later_items_are_done_first(count: int, workers: int) -> None:
    def work(number: int) -> int:
        time.sleep(0.002 if number % 3 == 0 else 0)
        return number * number

    assert list(map_ahead(work, range(count), workers)) == [number * number for number in range(count)]


@pytest.mark.parametrize("depth", [1, 3, 8])
def test_a_stage_never_runs_more_than_its_depth_ahead(depth: int) -> None:
    made: list[int] = []
    items = ahead(counting(100, made), depth)
    assert next(items) == 0
    # one is in the consumer's hands, `depth` wait, and one is in the producer's hands
    assert settled(made) <= depth + 2
    for taken in range(1, 30):
        assert next(items) == taken
    assert settled(made) <= 30 + depth + 1
    items.close()


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_a_map_never_has_more_than_twice_its_workers_under_way(workers: int) -> None:
    made: list[int] = []
    results = map_ahead(lambda number: number, counting(100, made), workers)
    assert next(results) == 0
    assert settled(made) <= 2 * workers
    results.close()  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("fail_at", [0, 1, 20])
def test_an_error_in_the_producer_surfaces_in_the_consumer_after_the_items_before_it(fail_at: int) -> None:
    taken: list[int] = []
    before = threading.active_count()
    with pytest.raises(Trouble, match=f"at {fail_at}"):
        for number in ahead(counting(50, [], fail_at), 3):
            taken.append(number)
    assert taken == list(range(fail_at))
    assert threading.active_count() == before


def test_an_error_in_a_map_surfaces_in_the_consumer() -> None:
    def work(number: int) -> int:
        if number == 7:
            raise Trouble
        return number

    taken: list[int] = []
    with pytest.raises(Trouble):
        for number in map_ahead(work, range(100)):
            taken.append(number)
    assert taken == list(range(7))


@pytest.mark.parametrize("take", [0, 1, 10])
def test_a_consumer_that_stops_early_ends_the_thread_and_closes_the_source(take: int) -> None:
    before = threading.active_count()
    closed: list[bool] = []
    items = ahead(counting(10**9, [], closed=closed), 4)
    for _ in range(take):
        next(items)
    items.close()
    assert threading.active_count() == before
    assert closed == ([True] if take else [])  # a stage that was never asked was never begun


def test_an_error_in_the_consumer_ends_the_whole_chain() -> None:
    before = threading.active_count()
    closed: list[bool] = []

    def middle(items: Iterator[int]) -> Iterator[int]:
        for number in items:
            yield number + 1

    def consume() -> None:
        chain = ahead(middle(ahead(counting(10**9, [], closed=closed), 4)), 4)
        try:
            for number in map_ahead(lambda n: n, chain):
                if number == 25:
                    raise Trouble
        finally:
            chain.close()

    with pytest.raises(Trouble):
        consume()
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.05)  # the inner stage ends when its generator is collected
    assert threading.active_count() == before
    assert closed == [True]


def test_an_interrupt_in_the_producer_reaches_the_consumer() -> None:
    def interrupted() -> Iterator[int]:
        yield 1
        raise KeyboardInterrupt

    items = ahead(interrupted())
    assert next(items) == 1
    with pytest.raises(KeyboardInterrupt):
        next(items)


def test_stages_overlap() -> None:
    """While the consumer holds one item the next is made: it needs no asking."""
    second_made = threading.Event()

    def source() -> Iterator[int]:
        yield 1
        second_made.set()
        yield 2

    items = ahead(source())
    next(items)
    assert second_made.wait(10)
    items.close()


@given(st.lists(st.integers(), max_size=40), st.integers(1, 9))
def test_batches_hold_everything_in_order(items: list[int], size: int) -> None:
    batches = list(batched(items, size))
    assert [item for batch in batches for item in batch] == items
    assert all(len(batch) == size for batch in batches[:-1])
    assert all(1 <= len(batch) <= size for batch in batches[-1:])


@pytest.mark.parametrize("stage", ["ahead", "map_ahead"])
def test_ctrl_c_while_a_thread_starts_waits_for_what_it_began(monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    """As it happened: the thread runs, and the pool, interrupted within `submit`, does not know of it."""
    begun, ended, closed = threading.Event(), threading.Event(), threading.Event()

    def slow(item: int) -> int:
        begun.set()
        time.sleep(0.2)
        ended.set()
        return item

    def items() -> Generator[int]:
        try:
            yield slow(1)
        finally:
            closed.set()

    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        begun.wait(5)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    made = ahead(items()) if stage == "ahead" else map_ahead(slow, [1, 2])
    with pytest.raises(KeyboardInterrupt):
        next(made)
    assert ended.is_set()
    assert closed.is_set() or stage == "map_ahead"
