"""Work on several threads comes back in order, and errors where their result would be."""

import threading
import time

import pytest

from anomaly_platform.ml import threads
from anomaly_platform.ml.threads import ahead, in_order


@pytest.fixture(params=[1, 3])
def number(request, monkeypatch):
    monkeypatch.setattr(threads, "thread_pool_size", lambda: request.param)
    return request.param


def test_results_come_in_the_order_of_the_items_however_long_each_takes(number):
    def work(item):
        time.sleep(0.002 * (item % 3))
        return item, threading.get_ident()

    found = list(in_order(work, range(40)))

    assert [item for item, _ in found] == list(range(40))
    assert number == 1 or len({thread for _, thread in found}) > 1


def test_no_more_than_a_few_items_are_ahead_of_what_is_taken(number):
    begun = []
    results = in_order(lambda item: begun.append(item) or item, range(1000))

    assert next(results) == 0
    results.close()

    assert len(begun) <= 2 * number + 1


def test_an_error_is_raised_where_its_result_would_come(number):
    def work(item):
        if item == 5:
            raise KeyError("five")
        return item

    results = in_order(work, range(100))

    assert [next(results) for _ in range(5)] == list(range(5))
    with pytest.raises(KeyError):
        next(results)


def test_the_next_item_is_made_while_one_is_in_use():
    made = threading.Event()

    def items():
        yield 1
        made.set()
        yield 2

    taken = ahead(items())
    assert next(taken) == 1
    assert made.wait(10)
    assert list(taken) == [2]


def test_an_error_is_raised_after_the_items_made_before_it():
    def items():
        yield 1
        raise ValueError("no second")

    taken = ahead(items())
    assert next(taken) == 1
    with pytest.raises(ValueError, match="no second"):
        next(taken)


@pytest.mark.parametrize("taken", [1, 2])
def test_what_makes_the_items_is_closed_in_its_thread_when_no_more_are_taken(taken):
    threads_of_items, closed_in = [], []

    def items():
        try:
            while True:
                threads_of_items.append(threading.get_ident())
                yield len(threads_of_items)
        finally:
            closed_in.append(threading.get_ident())

    source = ahead(items())
    assert [next(source) for _ in range(taken)] == [*range(1, taken + 1)]
    source.close()

    assert closed_in == threads_of_items[:1]
    assert closed_in[0] != threading.get_ident()


def test_items_of_what_cannot_be_closed_are_yielded_as_well():
    assert list(ahead([1, 2, 3])) == [1, 2, 3]
