"""Images cut into blocks of rows, where what is made of all of them at once would take much memory."""

import jax

BLOCK_BYTES = 2**26
"""What is made of larger images is cut into blocks of this size, but into no more than `MOST_BLOCKS`."""
MOST_BLOCKS = 8


def number_of_blocks(rows: int, total_bytes: int) -> int:
    """How many blocks of whole rows; one where there are several devices, as the arrays may be split over them.

    Args:
      rows: of the images.
      total_bytes: of what is made of all of them.
    """
    if jax.device_count() > 1:
        return 1
    return min(MOST_BLOCKS, max(1, rows), max(1, -(-total_bytes // BLOCK_BYTES)))
