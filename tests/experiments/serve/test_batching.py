"""Items of a key are computed together, none for another's."""

import asyncio

import pytest

from experiments.serve.batching import Batcher


def submitted(items, most=3, window=0.2, compute=None):
    """The results of items (key, value) that come at once, and the groups in which they were computed."""
    groups = []

    def doubled(values):
        groups.append(values)
        return [2 * value for value in values]

    async def run():
        batcher = Batcher(compute or doubled, lambda _: most, window)
        async with batcher.running():
            return await asyncio.gather(*(batcher.submit(*item) for item in items), return_exceptions=True)

    return asyncio.run(asyncio.wait_for(run(), 10)), groups


def test_groups_are_of_one_key_and_of_bounded_size():
    results, groups = submitted([("a", 1), ("b", 2), ("a", 3), ("a", 4), ("a", 5), ("b", 6), ("b", 7)])
    assert results == [2, 4, 6, 8, 10, 12, 14]
    assert groups == [[1, 3, 4], [2, 6, 7], [5]]


def test_full_groups_do_not_wait_and_others_do():
    """The window is longer than the test may take; without one, the last item alone is computed at once."""
    assert submitted([("a", value) for value in range(6)], window=60)[1] == [[0, 1, 2], [3, 4, 5]]
    assert submitted([("a", 1)], window=0)[0] == [2]


@pytest.mark.parametrize("bad", ["raises", "forgets one"])
def test_what_fails_together_is_tried_alone(bad):
    def compute(values):
        if bad == "forgets one":
            return values[:1]
        if 13 in values:
            raise RuntimeError("thirteen")
        return values

    results, _ = submitted([("a", 1), ("a", 13), ("a", 2)], compute=compute)
    assert results[::2] == [1, 2]
    assert results[1] == 13 if bad == "forgets one" else str(results[1]) == "thirteen"


def test_who_does_not_wait_is_left_out():
    groups = []

    async def run():
        batcher = Batcher(lambda values: groups.append(values) or values, lambda _: 3, 0.05)
        async with batcher.running():
            tasks = [asyncio.create_task(batcher.submit("a", value)) for value in range(2)]
            alone = asyncio.create_task(batcher.submit("b", 5))
            await asyncio.sleep(0)
            tasks[0].cancel()
            alone.cancel()
            return await tasks[1]

    assert asyncio.run(run()) == 1
    assert groups == [[1]]
