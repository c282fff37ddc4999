"""Requests of the same size that come within a few milliseconds are computed together; one group after the other."""

import asyncio
import contextlib
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple


class Waiting(NamedTuple):
    """Something to compute, since when it waits, and where its result goes."""

    item: Any
    since: float
    result: asyncio.Future


class Batcher:
    """`await submit(key, item)` gives the item's result; items of one key are computed together.

    Args:
      compute: items of one key -> as many results. It runs in a thread of its own, one call at a time.
      most: of a key, the number of items that are computed together.
      window: seconds that an item waits for others of its key, unless they are as many already.
      observe: is told the size of each group.
    """

    def __init__(
        self,
        compute: Callable[[Sequence[Any]], Sequence[Any]],
        most: Callable[[Any], int],
        window: float,
        observe: Callable[[int], None] = lambda _: None,
    ):
        self._compute, self._most, self._window, self._observe = compute, most, window, observe
        self._groups: dict[Hashable, list[Waiting]] = {}
        self._came = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "predict")

    async def submit(self, key: Hashable, item: Any) -> Any:
        """The result of an item; who no longer waits for it is left out. Raises what `compute` raises for it alone."""
        loop = asyncio.get_running_loop()
        waiting = Waiting(item, loop.time(), loop.create_future())
        self._groups.setdefault(key, []).append(waiting)
        self._came.set()
        return await waiting.result

    @contextlib.asynccontextmanager
    async def running(self):
        """Inside, groups are computed."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            self._thread.shutdown()

    async def _run(self) -> None:
        while True:
            while not self._groups:
                self._came.clear()
                await self._came.wait()
            key = min(self._groups, key=lambda key: self._groups[key][0].since)
            await self._fill(key)
            if group := self._taken(key):
                self._observe(len(group))
                await self._answer(group)

    async def _fill(self, key: Hashable) -> None:
        """Waits until the group is full, or its first item has waited long enough."""
        clock, group = asyncio.get_running_loop().time, self._groups[key]
        while len(group) < self._most(key) and (left := group[0].since + self._window - clock()) > 0:
            self._came.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._came.wait(), left)

    def _taken(self, key: Hashable) -> list[Waiting]:
        """The oldest items of a key, which leave the queue."""
        group = [waiting for waiting in self._groups.pop(key) if not waiting.result.done()]
        if rest := group[self._most(key) :]:
            self._groups[key] = rest
        return group[: self._most(key)]

    async def _answer(self, group: list[Waiting]) -> None:
        """Sets the results; where a group fails, each of its items is tried alone, so that none fails for another."""
        loop = asyncio.get_running_loop()
        try:
            results = await loop.run_in_executor(self._thread, self._compute, [waiting.item for waiting in group])
            answers = list(zip(group, results, strict=True))
        except Exception as error:
            if len(group) > 1:
                for waiting in group:
                    await self._answer([waiting])
            elif not group[0].result.done():
                group[0].result.set_exception(error)
            return
        for waiting, result in answers:
            if not waiting.result.done():
                waiting.result.set_result(result)
