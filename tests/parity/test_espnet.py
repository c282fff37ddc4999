"""ESPNet: its authors' weights for CamVid, on photographs, and the network written anew in PyTorch."""

from functools import partial

import jax
import numpy as np
import pytest

import fcn
from fcn.data import normalise, open_source
from fcn.layers import PReLU
from fcn.metrics import confusion_matrix, segmentation_metrics
from fcn.registry import MODELS
from tests.parity.by_hand import F, assert_model_equals, assert_model_gradients_equal_by_hand
from tests.parity.reference import torch
from tests.variables import count_parameters, shapes_of

Image = pytest.importorskip("PIL.Image")
CLASSES, VOID = 12, 11
BATCH_NORM = {"epsilon": 1e-3}


def espnet(**options):
    return fcn.create_model("espnet", num_classes=CLASSES, **options)


@pytest.fixture(scope="module")
def checkpoint(shared_data):
    return shared_data / "weights" / "espnet_camvid" / "espnet_p_2_q_8_camvid.pth"


@pytest.fixture(scope="module")
def logits(checkpoint):
    """Images, uint8 RGB [B, H, W, 3] -> logits, as a user would get them."""
    variables = fcn.from_torch(espnet(), checkpoint, source="espnet")
    row = MODELS["espnet"]
    assert row.bgr

    # Tests compile quickly, to programs that take three times as long: for a hundred images the usual ones are quicker.
    @partial(jax.jit, compiler_options={"xla_backend_optimization_level": 1})
    def logits(images):
        return espnet().apply(variables, normalise(images[..., ::-1], row.mean, row.std))

    return logits


def test_input(checkpoint):
    """The checkpoint takes (x - m) / s / 255 of x in 0..255, blue first."""
    mean, std = (110.33102643, 108.40886315, 105.03319369), (72.12571015, 72.69074534, 69.90434816)
    x = np.arange(256, dtype=np.float32)[:, None, None, None].repeat(3, -1)
    row = MODELS["espnet"]
    np.testing.assert_allclose(normalise(x.astype(np.uint8), row.mean, row.std), (x - mean) / std / 255, atol=1e-7)


@pytest.mark.parametrize("name", ["0016E5_07959", "0016E5_08059"])
def test_camvid_images(shared_data, checkpoint, logits, name):
    with np.load(checkpoint.parent / "reference.npz") as arrays:
        stride8, classes = np.moveaxis(arrays[f"{name}/logits_stride8"], 0, -1), arrays[f"{name}/argmax"]
    image = np.asarray(Image.open(shared_data / "camvid" / "images" / "val" / f"{name}.jpg"))
    given = np.asarray(logits(image[None])[0])
    np.testing.assert_allclose(given[::8, ::8], stride8, rtol=0, atol=1e-2)
    assert np.mean(given.argmax(-1) == classes) > 0.9999


@pytest.mark.slow
def test_camvid_score(shared_data, logits):
    """Validation, all 101 images: the scores that the authors' network has on these files."""
    total = np.zeros((VOID, VOID), np.int64)
    for sample in open_source("folder", "val", root=shared_data / "camvid"):
        found = logits(sample["image"][None])[0, ..., :VOID].argmax(-1)
        total += np.asarray(confusion_matrix(found, sample["label"], VOID))
    metrics = segmentation_metrics(total)
    assert metrics.mean_iou == pytest.approx(0.6903, abs=2e-4)
    assert metrics.pixel_accuracy == pytest.approx(0.9320, abs=2e-4)
    assert metrics.mean_accuracy == pytest.approx(0.8058, abs=2e-4)
    iou = [0.941, 0.856, 0.077, 0.968, 0.865, 0.897, 0.384, 0.701, 0.778, 0.429, 0.700]
    np.testing.assert_allclose(metrics.iou, iou, atol=2e-3)


def test_back(checkpoint):
    """`to_torch` gives the file's tensors by the file's names."""
    tensors = torch.load(checkpoint, map_location="cpu", weights_only=True)
    back = fcn.to_torch(espnet(), fcn.from_torch(espnet(), tensors, source="espnet"), source="espnet")
    assert {name for name in back if not name.endswith("num_batches_tracked")} == set(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(back[name], tensor.float()), name


def test_encoder_of_a_checkpoint(checkpoint):
    """ESPNet-C's checkpoints have the names of ESPNet's encoder without its prefix, and the same variables."""
    tensors = torch.load(checkpoint, map_location="cpu", weights_only=True)
    whole = fcn.from_torch(espnet(), tensors, source="espnet")
    tensors = {name.removeprefix("encoder."): tensor for name, tensor in tensors.items() if name.startswith("encoder.")}
    alone = fcn.from_torch(fcn.create_model("espnet_c", num_classes=CLASSES), tensors, source="espnet")
    jax.tree.map(np.testing.assert_array_equal, alone, {key: {"encoder": whole[key]["encoder"]} for key in whole})


def test_published_name(checkpoint):
    """Where the file has been downloaded, its name is enough."""
    given = fcn.load_weights("espnet.camvid", folder=checkpoint.parent)
    expected = fcn.from_torch(espnet(), checkpoint, source="espnet")
    jax.tree.map(np.testing.assert_array_equal, given, expected)


@pytest.mark.parametrize("name", ["espnet", "espnet_c"])
def test_other_classes(checkpoint, name):
    """All but the scores are taken over: in ESPNet these are the whole decoder."""
    tensors = torch.load(checkpoint, map_location="cpu", weights_only=True)
    blocks = ("encoder.level2.", "encoder.level3.")
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(blocks)}
    if name == "espnet_c":
        tensors = {name.removeprefix("encoder."): tensor for name, tensor in tensors.items() if name.startswith("encoder.")}
    create = partial(fcn.create_model, name, p=0, q=0)
    with pytest.warns(UserWarning, match="another number of classes: .*encoder/classifier/kernel.* keep initial values"):
        given = fcn.from_torch(create(num_classes=7), tensors, source="espnet")
    expected = fcn.from_torch(create(num_classes=CLASSES), tensors, source="espnet")
    for variables in (given, expected):
        del variables["params"]["encoder"]["classifier"]
    for collection in ("params", "batch_stats"):
        jax.tree.map(np.testing.assert_array_equal, given[collection]["encoder"], expected[collection]["encoder"])
    misshapen = tensors | {name: tensor[:, :, :1] for name, tensor in tensors.items() if name.endswith("level1.conv.weight")}
    with pytest.raises(ValueError, match=r"misshapen: .*level1\.conv\.weight"):
        fcn.from_torch(create(num_classes=7), misshapen, source="espnet")


def pyramid(x, net, path, features, stride=1, residual=True):
    """An ESP module; `stride` 2 reduces by a strided convolution."""
    y = net.conv(x, f"{path}/c1", stride)
    assert y.shape[1] == features // min(5, features)
    d1, *others = (net.conv(y, f"{path}/d{d}", dilation=d) for d in (1, 2, 4, 8, 16)[:features])
    sums = [sum(others[: i + 1]) for i in range(len(others))]
    y = torch.cat([d1, *sums], dim=1)
    assert y.shape[1] == features
    return act(x + y if residual and stride == 1 else y, net, f"{path}/bn")


def act(x, net, path):
    return net.prelu(net.norm(x, f"{path}/bn"), f"{path}/act")


def reference_encoder(x, net, p, q):
    """The maps that the decoder takes, and scores."""
    half = F.avg_pool2d(x, 3, 2, 1)
    quarter = F.avg_pool2d(half, 3, 2, 1)
    level1 = act(net.conv(x, "encoder/level1/conv", 2), net, "encoder/level1")
    with_image = act(torch.cat([level1, half], 1), net, "encoder/b1")
    x = first = pyramid(with_image, net, "encoder/down2", 64, 2)
    for i in range(p):
        x = pyramid(x, net, f"encoder/level2_{i}", 64)
    level2 = act(torch.cat([x, first, quarter], 1), net, "encoder/b2")
    x = first = pyramid(level2, net, "encoder/down3", 128, 2)
    for i in range(q):
        x = pyramid(x, net, f"encoder/level3_{i}", 128)
    scores = net.conv(act(torch.cat([first, x], 1), net, "encoder/b3"), "encoder/classifier")
    return level1, with_image, level2, scores


def reference(x, net, p=1, q=1, skip_image=True):
    level1, with_image, level2, x = reference_encoder(x, net, p, q)
    classes = x.shape[1]
    x = net.conv_transpose(net.norm(x, "br"), "up_l3_0")
    x = act(torch.cat([net.conv(level2, "level3_C"), x], 1), net, "combine_l2_l3_0")
    x = pyramid(x, net, "combine_l2_l3_1", classes, residual=False)
    x = act(net.conv_transpose(x, "up_l2_0"), net, "up_l2_1")
    x = torch.cat([x, with_image if skip_image else level1], 1)
    return net.conv_transpose(act(net.conv(x, "conv/conv"), net, "conv"), "classifier")


def reference_c(x, net, p=1, q=1, align_corners=False):
    x = reference_encoder(x, net, p, q)[-1]
    return F.interpolate(x, scale_factor=8, mode="bilinear", align_corners=align_corners)


def test_logits_as_for_cityscapes():
    options = {"p": 2, "q": 3, "skip_image": False}
    model = fcn.create_model("espnet", num_classes=20, **options)
    assert_model_equals(model, partial(reference, **options), [(48, 80)], **BATCH_NORM)


def test_logits_of_few_classes_and_other_channels():
    """With 3 classes the last pyramid has 3 branches; sides that do not divide by 8 are extended."""
    model = fcn.create_model("espnet", num_classes=3, p=1, q=1)
    assert_model_equals(model, reference, [], extended=[((33, 47), (40, 48))], channels=4, **BATCH_NORM)


@pytest.mark.parametrize("align_corners", [False, True])
def test_logits_of_the_encoder(align_corners):
    """The authors' network gives 40 rows for 33 of the image; these are cropped."""
    model = fcn.create_model("espnet_c", num_classes=5, p=1, q=1, align_corners=align_corners)
    assert_model_equals(model, partial(reference_c, align_corners=align_corners), [(33, 47)], **BATCH_NORM)


def test_training():
    options = {"p": 0, "q": 1}
    create = partial(fcn.create_model, "espnet", num_classes=6, **options)
    assert_model_gradients_equal_by_hand(create, partial(reference, **options), (32, 48), **BATCH_NORM)


def test_first_slope():
    """As in PyTorch and He et al.: 0.25."""
    variables = PReLU().init(jax.random.key(0), np.zeros((1, 2, 2, 5), np.float32))
    np.testing.assert_array_equal(variables["params"]["alpha"], np.full(5, 0.25))


@pytest.mark.parametrize(
    ("name", "classes", "options", "count"),
    [
        ("espnet", 12, {}, 354_517),  # the tensors of the file
        ("espnet", 20, {"skip_image": False}, 364_569),  # published: 0.364 M
        ("espnet", 20, {}, 365_109),
        ("espnet", 20, {"q": 3, "skip_image": False}, 202_649),
        ("espnet_c", 20, {}, 349_449),
    ],
)
def test_parameters(name, classes, options, count):
    assert count_parameters(fcn.create_model(name, num_classes=classes, **options), 1, 32, 32, 3) == count


def pyramid_size(inputs, features, size):
    """Weights of an ESP module with a reduction of size x size, BatchNorm and PReLU."""
    narrow = features // 5
    return size**2 * inputs * narrow + 9 * narrow * (features - 4 * narrow) + 36 * narrow**2 + 3 * features


@pytest.mark.parametrize(("p", "q"), [(1, 4), (5, 3)])
def test_parameters_grow_by_module(p, q):
    """Each further module adds its own, whose names count on from 0."""
    shapes = shapes_of(espnet(p=p, q=q), 1, 32, 32, 3)["params"]["encoder"]
    modules = [name for name in shapes if name.startswith(("level2_", "level3_"))]
    assert sorted(modules) == sorted([f"level2_{i}" for i in range(p)] + [f"level3_{i}" for i in range(q)])
    given = count_parameters(espnet(p=p, q=q), 1, 32, 32, 3)
    assert given == 354_517 + (p - 2) * pyramid_size(64, 64, 1) + (q - 8) * pyramid_size(128, 128, 1)


def test_no_other_source(checkpoint):
    with pytest.raises(ValueError, match="source 'smp' has no weights for ESPNet; it has espnet"):
        fcn.from_torch(espnet(), checkpoint, source="smp")
