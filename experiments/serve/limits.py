"""What a service takes at once."""

import dataclasses

from experiments.serve.bodies import MEBIBYTE


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds of a service, so that no client takes more than its share."""

    batch: int = 8
    """Images that are predicted together."""
    window: float = 0.004
    """Seconds that an image waits for others of its size."""
    queue: int = 64
    """Images that are on their way at once, from the last byte of the request to the answer."""
    body: int = 32 * MEBIBYTE
    """Bytes of a request; eight times as many are held of all together."""
    seconds: float = 30
    """Within which the bytes of a request must have come."""
