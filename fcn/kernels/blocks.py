"""Images cut into blocks of rows, where what is made of all of them at once would take much memory."""

BLOCK_BYTES = 2**26
"""What is made of larger images is cut into blocks of this size, but into no more than `MOST_BLOCKS`."""
CACHED_BYTES = 2**22
"""Of a block that is to be in the cache still when it is read, if `MOST_BLOCKS` are enough; 8 MB are as fast."""
MOST_BLOCKS = 8


def number_of_blocks(rows: int, total_bytes: int, alone: bool, *, cached: bool = False) -> int:
    """How many blocks of whole rows; one where there are several devices, as the arrays may be split over them.

    Args:
      rows: of the images.
      total_bytes: of what is made of all of them.
      alone: whether one device has all processors.
      cached: whether they are small enough for the cache, to be computed in turn (`fcn.kernels.fusion.sum_in_turn`).
    """
    if not alone:
        return 1
    return min(MOST_BLOCKS, max(1, rows), max(1, -(-total_bytes // (CACHED_BYTES if cached else BLOCK_BYTES))))
