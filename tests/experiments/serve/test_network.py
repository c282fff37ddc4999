"""What is served is what the network's own Predictor gives; files are refused before they are unpacked."""

import io
import struct
import zlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments.building.networks import Network
from experiments.serve.network import ServedNetwork
from experiments.serve.served import Key, TooLarge
from fcn import tasks
from fcn.inference import Predictor
from fcn.layers import Conv
from fcn.preprocessing import Preprocessing

RANDOM = np.random.default_rng(0)


class Blurred(nn.Module):
    """Classes by colours and their neighbours."""

    @nn.compact
    def __call__(self, x):
        return Conv(3, (3, 3))(x)


MODEL = Blurred()
VARIABLES = MODEL.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
TASK = tasks.make("semantic", ["a", "b", "c"])


def served(**expected):
    return ServedNetwork("blurred", Network(MODEL, VARIABLES, TASK, Preprocessing(**expected)), 10_000)


def file(pixels, kind="PNG", **options):
    Image.fromarray(pixels).save(stream := io.BytesIO(), kind, **options)
    return stream.getvalue()


def photo(height, width):
    return RANDOM.integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(("expected", "keys"), [({}, 1), ({"size": (24, 32)}, 2)])
def test_groups_get_what_each_image_gets_alone(expected, keys):
    """Two sizes that are extended to one, and two images of each; where they are resized, as in training, each has its key."""
    network, photos = served(**expected), [photo(*size) for size in ((40, 50), (33, 64)) for _ in range(2)]
    asked = [network.read(file(pixels)) for pixels in photos]
    assert len({one.key for one in asked}) == keys
    groups = [asked[:3], asked[3:]] if keys == 1 else [asked[:2], asked[2:]]
    scores = [one for group in groups for one in network.scores(group)]
    alone = Predictor(MODEL, VARIABLES, Preprocessing(**expected), TASK, bucket=None if expected else 32)
    for pixels, found in zip(photos, scores, strict=True):
        seen = Preprocessing(**expected).seen_size(*pixels.shape[:2])
        np.testing.assert_array_equal(found, alone.scores(pixels, size=seen))


def test_large_images_are_predicted_alone():
    network = served()
    keys = Key((64, 64)), Key((1024, 1024)), Key((2048, 4096)), Key((4096, 4096), (240, 320))
    assert [network.most(key, 8) for key in keys] == [8, 4, 1, 1]


def test_ids_of_the_labels_are_kept():
    network = Network(MODEL, VARIABLES, TASK, Preprocessing(), label_ids=(0, 7, 9))
    assert ServedNetwork("x", network, 100).label_ids == (0, 7, 9)


def bomb(width, height):
    """A PNG file of a few bytes that says that it is huge."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(101, 100), (30_000, 30_000)])
def test_bombs_are_refused_unread(size, monkeypatch):
    monkeypatch.setattr(Image.Image, "load", None)
    with pytest.raises(TooLarge, match="more than 10000 pixels"):
        served().read(bomb(*size))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"GIF89a", "no image that can be read; send a PNG, JPEG or TIFF file"),
        (file(photo(4, 4), "BMP"), "no image that can be read; send a PNG, JPEG or TIFF file"),
        (file(photo(40, 40))[:500], "the image: damaged or cut short"),
        (file(np.zeros((4, 4), np.float32), "TIFF"), "the image: floating-point pixels"),
    ],
)
def test_what_is_not_read(data, said):
    with pytest.raises(ValueError, match=said):
        served().read(data)


def test_networks_that_are_not_served():
    def network(channels, classes):
        expected = Preprocessing(mean=(0.5,) * channels, std=(0.5,) * channels)
        task = tasks.make("semantic", [f"c{k}" for k in range(classes)])
        return Network(MODEL, VARIABLES, task, expected)

    for given, said in (((5, 3), "5 channels, a service pictures of up to 4"), ((3, 1), "1 class")):
        with pytest.raises(ValueError, match=said):
            ServedNetwork("x", network(*given), 100)
