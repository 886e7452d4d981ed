"""Work on several threads whose results come in the order of the work."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar, cast

from polars import thread_pool_size

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def ahead(items: Iterable[_Item]) -> Generator[_Item]:
    """Yield the items, each one made in another thread while the one before is in use.

    What makes them runs in that thread alone, so it does not see the taker's context variables. It
    is closed there, if it can be closed, when no more are taken: the taker closes this iterator,
    or leaves it to be collected.
    """
    iterator, end = iter(items), object()
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, iterator, end)
        try:
            while (item := coming.result()) is not end:
                coming = thread.submit(next, iterator, end)
                yield cast("_Item", item)
        finally:
            # A generator cannot be closed while it runs: the thread is still at the next item.
            thread.submit(getattr(iterator, "close", lambda: None)).result()


def in_order(
    work: Callable[[_Item], _Result], items: Iterable[_Item], *, most: int | None = None
) -> Iterator[_Result]:
    """Yield what `work` returns for each item, in the order of the items.

    As many threads work as Polars uses, `most` at most, a few items ahead of what is taken, so that
    results in waiting are few. What `work` raises is raised where its result would come.
    """
    number = min(thread_pool_size(), most or thread_pool_size())
    if number < 2:
        yield from map(work, items)
        return
    waiting: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(number) as threads:
        try:
            for item in items:
                waiting.append(threads.submit(work, item))
                if len(waiting) > 2 * number:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
