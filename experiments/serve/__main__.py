"""Serve: `python -m experiments.serve MODEL` answers images that are sent to it, and shows a page to try the network on.

MODEL is the folder of a run or of a saved model, a file that experiments.export wrote, or the name of published weights that
segment. The page is at http://127.0.0.1:8000; `curl --data-binary @photo.jpg "http://127.0.0.1:8000/predict?answer=json"` does
the same (docs/serving.md). SIGTERM and Ctrl-C end the service; requests under way are answered before.
"""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Annotated, Literal

import tyro

from experiments import command
from fcn.ranges import Range, check_fields


@dataclasses.dataclass(frozen=True)
class ServeConfig:
    """A service for a trained network."""

    model: Annotated[str, tyro.conf.Positional]
    """A run folder, a saved model, an exported file, or the name of published weights."""
    checkpoint: Literal["last", "best"] = "last"
    """Which checkpoint of a run: the last, or the best by what its training took for it (--best, validation mIoU)."""
    host: str = "127.0.0.1"
    """The address to listen at; 0.0.0.0 lets other machines in."""
    port: Annotated[int, Range(0, 65535)] = 8000
    """The port; 0 takes one that is free."""
    compile: Annotated[tuple[int, int] | None, Range(1, 2**16)] = None
    """Height and width of images whose programs are compiled before the first comes (default: those of training)."""
    batch: Annotated[int, Range(1, 1024)] = 8
    """Images of the same size that are predicted together."""
    wait: Annotated[float, Range(0, 1000)] = 4
    """Milliseconds that an image waits for others of its size."""
    queue: Annotated[int, Range(1, 2**20)] = 64
    """Images that may be on their way at once; others are refused (429)."""
    max_megabytes: Annotated[float, Range(0, 2**20, above=True)] = 32
    """Of a request; larger ones are refused (413)."""
    max_pixels: Annotated[int, Range(1, 2**40)] = 25_000_000
    """Of an image; larger ones are refused (413) before they are unpacked."""
    timeout: Annotated[float, Range(0, 2**20, above=True)] = 30
    """Seconds within which the bytes of a request must have come (408)."""

    def __post_init__(self):
        check_fields(self)


def main(args: Sequence[str]) -> None:
    options = command.parse(ServeConfig, args, "serve", __doc__)
    try:
        from experiments.serve.server import address, listen, serve
    except ModuleNotFoundError as error:
        raise ImportError(f"{error}; a service needs the extra of its name: pip install -e '.[serve]'") from None
    with listen(options.host, options.port) as listener:
        app = make_application(options)
        print(f"{options.model} is served at {address(listener)}; Ctrl-C ends it", flush=True)
        serve(app, listener)


def make_application(options: ServeConfig):
    """The ASGI application that the command line asks for, its programs compiled."""
    command.cache_compilations(calls=command.OFTEN)
    from experiments.building.networks import named
    from experiments.serve.app import make_app
    from experiments.serve.bodies import MEBIBYTE
    from experiments.serve.limits import Limits
    from experiments.serve.network import ServedNetwork

    network = named(options.model, options.checkpoint)
    served = ServedNetwork(options.model, network, options.max_pixels)
    if size := options.compile or network.preprocessing.size:
        served.compile(size[0], size[1], options.batch)
    bounds = {"body": round(options.max_megabytes * MEBIBYTE), "seconds": options.timeout}
    return make_app(served, Limits(options.batch, options.wait / 1000, options.queue, **bounds))


if __name__ == "__main__":
    command.keep_memory()
    command.run(lambda: main(sys.argv[1:]))
