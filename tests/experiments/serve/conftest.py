"""A service of a network that needs no compilation, in a thread, asked over HTTP."""

import contextlib
import http.client
import io
import json
import threading
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from fcn import tasks

SEMANTIC = tasks.make("semantic", ["dark", "light"], palette=((10, 20, 30), (200, 100, 50)))


class Answered(NamedTuple):
    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def pixels(self):
        return np.array(Image.open(io.BytesIO(self.body)))


def decoded(encoding):
    """The mask of run lengths."""
    height, width = encoding["size"]
    values = np.repeat(np.arange(len(encoding["counts"])) % 2, encoding["counts"])
    return values.reshape(width, height).T


class Light:
    """A network whose classes are those of brightness; it notes what it is given, and waits while it is `held`."""

    name, label_ids = "light", None

    def __init__(self, task=SEMANTIC):
        self.task, self.groups, self.free = task, [], threading.Event()
        self.free.set()

    def read(self, data):
        from experiments.serve.served import Asked, TooLarge
        from fcn.data import read_image

        if data == b"a bomb":
            raise TooLarge("more pixels than are taken")
        image = read_image(data, channels=3, name="the image")
        return Asked(image, image.shape[:2])

    def scores(self, group):
        assert self.free.wait(10)
        assert len({asked.key for asked in group}) == 1
        self.groups.append(len(group))
        if any(asked.image[0, 0, 0] == 66 for asked in group):
            raise RuntimeError("a defect")
        if any(asked.image[0, 0, 0] == 77 for asked in group):
            raise MemoryError
        return [(asked.image[..., 0] > 127).astype(np.int32) for asked in group]

    def most(self, key, batch):
        return batch


class Client:
    def __init__(self, port):
        self.port = port

    def __call__(self, path, body=None, headers=(), method=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request(method or ("GET" if body is None else "POST"), path, body, dict(headers))
            answer = connection.getresponse()
            return Answered(answer.status, dict(answer.getheaders()), answer.read())


@contextlib.contextmanager
def running(served, **limits):
    """A client of the service of a network."""
    from experiments.serve.app import make_app
    from experiments.serve.limits import Limits
    from experiments.serve.server import listen, make_server

    listener = listen("127.0.0.1", 0)
    server = make_server(make_app(served, Limits(**limits)))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield Client(listener.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def light():
    return Light()


@pytest.fixture(scope="module")
def ask(light):
    with running(light, batch=4, window=0.05, queue=6, body=2**16, seconds=0.5) as client:
        yield client
