"""TensorFlow's DeepLabV3 on MobileNetV2: its published weights, on photographs."""

import jax
import numpy as np
import pytest

import fcn
from fcn.registry import MODELS
from tests.parity.reference import assert_close
from tests.variables import count_parameters

NAME = "deeplabv3_mobilenet_v2_tf"
SIDE = 513
Image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def folder(shared_data):
    return shared_data / "weights" / "deeplabv3_mnv2_voc"


@pytest.fixture(scope="module")
def labels(folder):
    return (folder / "voc_labels.txt").read_text().split()[:21]


@pytest.fixture(scope="module")
def logits(folder, labels):
    """Images, uint8, of 513x513 -> logits, as a user would get them."""
    model = fcn.create_model(NAME, num_classes=len(labels))
    variables = fcn.from_torch(model, folder / "deeplabv3_mnv2_dm05_voc.npz", source="tf_deeplab")
    row = MODELS[NAME]
    normalise = lambda image: (image / 255 - np.asarray(row.mean)) / np.asarray(row.std)  # noqa: E731
    apply = jax.jit(model.apply)
    return lambda image: np.asarray(apply(variables, normalise(image)[None].astype(np.float32))[0])


@pytest.fixture(scope="module")
def reference(folder):
    with np.load(folder / "reference.npz") as arrays:
        return dict(arrays)


def square(image):
    return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def test_bird(folder, labels, logits, reference):
    given = logits(square(Image.open(folder / "bird.png")))
    assert_close(given[::16, ::16], np.moveaxis(reference["bird/logits33"], 0, -1))
    found = given.argmax(-1)
    assert np.mean(found == reference["bird/argmax"]) > 0.9999
    mask = np.asarray(Image.open(folder / "bird_mask.png").resize((SIDE, SIDE), Image.Resampling.NEAREST))
    bird = labels.index("bird")
    assert np.mean(found == mask) == pytest.approx(0.968, abs=5e-4)
    intersection, union = np.sum((found == bird) & (mask == bird)), np.sum((found == bird) | (mask == bird))
    assert intersection / union == pytest.approx(0.858, abs=5e-4)


@pytest.mark.parametrize(
    ("photo", "share"),
    [("chelsea", {"cat": 0.779}), ("astronaut", {"person": 0.435, "bottle": 0.076}), ("motorcycle_left", {"motorbike": 0.322})],
)
def test_photographs(labels, logits, reference, photo, share):
    data = pytest.importorskip("skimage.data")
    image = data.stereo_motorcycle()[0] if photo == "motorcycle_left" else getattr(data, photo)()
    given = logits(square(Image.fromarray(image)))
    assert_close(given[::16, ::16], np.moveaxis(reference[f"{photo}/logits33"], 0, -1))
    found = np.bincount(given.argmax(-1).ravel(), minlength=len(labels)) / SIDE**2
    for label, expected in share.items():
        assert found[labels.index(label)] == pytest.approx(expected, abs=5e-4)


def test_back(folder, labels):
    """`to_torch` gives the file's tensors by the file's names."""
    pytest.importorskip("torch")
    model = fcn.create_model(NAME, num_classes=len(labels))
    with np.load(folder / "deeplabv3_mnv2_dm05_voc.npz") as arrays:
        tensors = dict(arrays)
    back = fcn.to_torch(model, fcn.from_torch(model, tensors, source="tf_deeplab"), source="tf_deeplab")
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(back[name], tensor)


def test_grey_images(folder, labels):
    model = fcn.create_model(NAME, num_classes=len(labels))
    with pytest.warns(UserWarning, match="adapted to images of 1 channels"):
        variables = fcn.from_torch(model, folder / "deeplabv3_mnv2_dm05_voc.npz", source="tf_deeplab", in_channels=1)
    with np.load(folder / "deeplabv3_mnv2_dm05_voc.npz") as arrays:
        expected = arrays["MobilenetV2/Conv/kernel"].sum(axis=2, keepdims=True)
    np.testing.assert_array_equal(variables["params"]["MobilenetV2"]["Conv"]["kernel"], expected)


def test_parameters(labels):
    assert count_parameters(fcn.create_model(NAME, num_classes=len(labels)), 1, 64, 64, 3) == 688_357
