"""A service under load: clients ask all the time, and compare each answer with the mask that their own image should have."""

import contextlib
import http.client
import io
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

NETWORK, CLASSES = {"name": "unet", "base_features": 16}, 8
CLIENTS, BATCH = 32, 8
SIZES = ((192, 256), (180, 250))
"""Of the photos, height and width; both are predicted together."""
_ALIKE = 0.01
"""The share of pixels in which an answer may differ from what it should be: those whose classes are as likely, by rounding."""


class Photo(NamedTuple):
    """What a client sends, and the mask that it should be answered with."""

    data: bytes
    mask: np.ndarray


class Load(NamedTuple):
    """What clients have seen: seconds of each answer, how many were another image's, and how many did not come."""

    latencies: list[float]
    mixed_up: int
    lost: int
    seconds: float


def measure(seconds: float) -> dict[str, float]:
    """Figures of a service that is asked by 32 clients on the same processors, and of the bare compiled model."""
    import fcn
    from experiments.building.networks import from_folder
    from experiments.serve.network import ServedNetwork

    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "network"
        _save_network(fcn, saved)
        network = from_folder(saved, "last")
        photos = _photos(ServedNetwork("network", network, 2**24))
        with _service(saved) as port:
            ask(port, photos, CLIENTS, min(seconds, 2))
            before = _figures(port)
            load = ask(port, photos, CLIENTS, seconds)
            after = _figures(port)
    if not load.latencies:
        raise ValueError(f"no answer came in {load.seconds:.1f} s, {load.lost} requests were lost; give more --seconds")
    spent = {name: after[name] - before[name] for name in after if name.endswith("seconds_total") or "processor" in name}
    bare = _bare_rate(network)
    count = len(load.latencies)
    own = sum(value for name, value in spent.items() if name.startswith(("fcn_loop", "fcn_image")))
    return {
        "requests/s": count / load.seconds,
        "bare compiled model, images/s": bare,
        "share of the bare model's rate, %": 100 * count / load.seconds / bare,
        "answers": count,
        "answers of another image": load.mixed_up,
        "lost": load.lost,
        **{f"latency, {p}th percentile, ms": 1e3 * float(np.percentile(load.latencies, p)) for p in (50, 95, 99)},
        "the server's own processor time a request, ms": 1e3 * own / count,
        "all of its processor time a request, ms": 1e3 * spent["process_cpu_seconds_total"] / count,
    }


def ask(port: int, photos: Sequence[Photo], clients: int, seconds: float) -> Load:
    """Clients that ask for so long, each the next photo as soon as the last is answered."""
    latencies: list[float] = []
    wrong: list[str] = []
    begun = time.perf_counter()

    def client(first: int) -> None:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=120)) as connection:
            number = first
            while time.perf_counter() - begun < seconds:
                photo, start = photos[number % len(photos)], time.perf_counter()
                number += 1
                try:
                    connection.request("POST", "/predict", photo.data)
                    answer = connection.getresponse()
                    body = answer.read()
                except (OSError, http.client.HTTPException):
                    connection.close()
                    wrong.append("lost")
                    continue
                if answer.status != 200:
                    wrong.append("lost")
                    continue
                latencies.append(time.perf_counter() - start)
                if not _is_own(body, photo, photos):
                    wrong.append("mixed up")

    threads = [threading.Thread(target=client, args=(first,)) for first in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Load(latencies, wrong.count("mixed up"), wrong.count("lost"), time.perf_counter() - begun)


def _is_own(body: bytes, photo: Photo, photos: Sequence[Photo]) -> bool:
    """Whether a mask is that of its photo, and of no other."""
    mask = np.asarray(Image.open(io.BytesIO(body)))
    if mask.shape != photo.mask.shape or np.mean(mask != photo.mask) > _ALIKE:
        return False
    return not any(other is not photo and np.array_equal(mask, other.mask) for other in photos)


def _save_network(fcn, folder: Path) -> None:
    """A network of random variables, whose masks differ between photos."""
    import jax
    import jax.numpy as jnp

    model = fcn.create_model(**NETWORK, num_classes=CLASSES)
    variables = model.init(jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    names = [f"class {k}" for k in range(CLASSES)]
    fcn.save(folder, model, variables, classes=names, preprocessing=fcn.preprocessing.Preprocessing())


def _photos(served) -> list[Photo]:
    """Smooth random photos of two sizes, and what the network sees in each alone."""
    random, photos = np.random.default_rng(0), []
    for number in range(16):
        height, width = SIZES[number % 2]
        coarse = Image.fromarray(random.integers(0, 256, (12, 12, 3), np.uint8))
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(file := io.BytesIO(), "JPEG", quality=90)
        photos.append(Photo(file.getvalue(), served.scores([served.read(file.getvalue())])[0]))
    return photos


@contextlib.contextmanager
def _service(folder: Path) -> Iterator[int]:
    """The port of a service in a process of its own."""
    size = map(str, SIZES[0])
    command = [sys.executable, "-m", "experiments.serve", str(folder), "--port", "0", "--batch", str(BATCH), "--compile", *size]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        line = process.stdout.readline() if process.stdout else ""
        if " is served at " not in line:
            process.kill()  # or else its end is waited for
            raise RuntimeError("the service did not start")
        try:
            yield int(line.partition("http://127.0.0.1:")[2].partition(";")[0])
        finally:
            process.send_signal(signal.SIGTERM)


def _figures(port: int) -> dict[str, float]:
    """What the service says of itself."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def _bare_rate(network, rounds: int = 10) -> float:
    """Images a second of the compiled model alone, on batches that are there already."""
    import jax

    apply, images = jax.jit(network.model.apply), np.zeros((BATCH, *SIZES[0], 3), np.float32)
    apply(network.variables, images).block_until_ready()
    start = time.perf_counter()
    for _ in range(rounds):
        apply(network.variables, images).block_until_ready()
    return rounds * BATCH / (time.perf_counter() - start)
