"""Work on many things one after another, while the next is fetched and the last is put away."""

import collections
from collections.abc import Callable, Iterable, Iterator
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
