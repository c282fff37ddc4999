"""Images cut into blocks of rows, where what is made of all of them at once would take much memory."""

import jax

BLOCK_BYTES = 2**26
MOST_BLOCKS = 8


def number_of_blocks(rows: int, total_bytes: int) -> int:
    """So many blocks of whole rows that each takes `BLOCK_BYTES`, but no more than `MOST_BLOCKS`.

    One block where there are several devices: the arrays may be split over them.
    """
    if jax.device_count() > 1:
        return 1
    return min(MOST_BLOCKS, max(1, rows), max(1, -(-total_bytes // BLOCK_BYTES)))
