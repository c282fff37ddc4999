"""Work on many things one after another, while the next is fetched and the last is put away."""

import collections
import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


def ahead(function: Callable[[Given], Made], items: Iterable[Given]) -> Iterator[Made]:
    """`map(function, items)`, computed in a thread, one item ahead of whoever asks; never more than two results are waiting.

    Stages follow each other as in `ahead(write, map(predict, ahead(read, files)))`: while one image is predicted, the next is
    read and the one before is written.
    """
    with ThreadPoolExecutor(1) as pool:
        coming = collections.deque()
        for item in items:
            coming.append(pool.submit(function, item))
            if len(coming) > 1:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def runs(items: Iterable[Given], count: int, key: Callable[[Given], Hashable]) -> Iterator[list[Given]]:
    """Items that follow each other and have the same key, in lists of at most `count`."""
    for _, run in itertools.groupby(items, key):
        while some := list(itertools.islice(run, count)):
            yield some
