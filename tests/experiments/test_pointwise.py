"""The claims of `experiments.pointwise`: their numbers against closed forms, hand calculations and slow obvious versions."""

import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import fcn
from experiments.pointwise import Options, load_photo, main
from experiments.pointwise_claims import conditional, cost, dense, heads, instances, luma, mixing, per_pixel, scoring, sizes
from experiments.pointwise_claims.claim import count, largest_difference, random_variables, shapes
from experiments.pointwise_claims.scene import still_life
from experiments.pointwise_claims.scenes import scenes
from fcn.layers import ConvNormRelu, PointwiseConv

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return (np.round(255 * still_life(48, 64)) / 255).astype(np.float32)


# Claim 1


def test_worked_example_is_what_one_calculates_by_hand():
    np.testing.assert_array_equal(per_pixel.worked_example(), [[9, 6], [1, -1], [2, 2], [4, 2]])


@pytest.mark.parametrize("space", [(4,), (3, 5), (2, 3, 2)])
def test_every_output_channel_is_a_weighted_sum_of_the_inputs(rng, space):
    x, kernel, bias = rng.normal(size=(2, *space, 3)), rng.normal(size=(3, 4)), rng.normal(size=4)
    expected = np.empty((2, *space, 4))
    for place in np.ndindex(2, *space):
        for k in range(4):
            expected[(*place, k)] = sum(x[(*place, c)] * kernel[c, k] for c in range(3)) + bias[k]
    y = per_pixel.apply_pointwise(*(a.astype(np.float32) for a in (x, kernel, bias)))
    np.testing.assert_allclose(y, expected, atol=2e-6)  # four float32 roundings of numbers below 10


def test_layer_against_dense_layers_reach_and_shuffling(rng, photo):
    assert per_pixel.against_dense(rng, (3, 4)) < 4e-6
    assert per_pixel.positions_reached(rng, 1) == 1
    assert per_pixel.positions_reached(rng, 3) == 9
    assert per_pixel.shuffle_difference(rng, photo) < 1e-6


# Claim 2


def test_gray_is_the_luma_of_bt601_and_pillows(photo):
    expected = 0.299 * photo[..., 0] + 0.587 * photo[..., 1] + 0.114 * photo[..., 2]
    np.testing.assert_allclose(luma.gray(photo), expected, atol=2e-7)
    assert 255 * np.abs(luma.gray(photo) - luma.gray_by_pillow(photo)).max() < 0.501  # Pillow rounds to 8 bits


def test_gradient_descent_follows_its_closed_form(photo):
    wanted = np.array([0.2, 0.7, -0.3], np.float32)
    learned = luma.learn(photo, photo @ wanted, 400)
    theory = luma.weights_by_theory(photo, photo @ wanted, learned.rate, 400)
    np.testing.assert_allclose(learned.weights, theory, atol=2e-5)  # 400 float32 updates
    np.testing.assert_array_equal(learned.weights[0], 0)
    curvature = luma.curvature(photo)
    slowest = (1 - learned.rate * np.linalg.eigvalsh(curvature)[0]) ** 400
    assert np.linalg.norm(learned.weights[-1] - wanted) <= slowest * np.linalg.norm(wanted) + 2e-5
    assert luma.steps_needed(photo) == np.ceil(5 * np.linalg.cond(curvature))
    errors = [np.mean((photo @ w - photo @ wanted) ** 2) for w in learned.weights[[0, 1, 50]]]
    np.testing.assert_allclose(learned.errors[[0, 1, 50]], errors, rtol=1e-4)


def test_gradient_descent_on_a_gray_photo_finds_the_smallest_of_many_solutions(photo):
    gray = np.repeat(photo[..., :1], 3, axis=-1)
    learned = luma.learn(gray, gray[..., 0], 50)
    np.testing.assert_allclose(learned.weights[-1], 1 / 3, atol=1e-5)  # all directions but (1, 1, 1) are flat
    assert luma.steps_needed(gray) == np.inf
    black = np.zeros_like(photo)
    np.testing.assert_array_equal(luma.learn(black, black[..., 0], 2).weights, 0)


# Claim 3


def test_depthwise_residual_is_that_of_a_line_fitted_to_every_channel(rng, photo):
    target = mixing.exchange_red_and_blue(photo)
    for c, error in enumerate(mixing.depthwise_residual(photo, target)):
        x, y = photo[..., c].ravel().astype(float), target[..., c].ravel().astype(float)
        np.testing.assert_allclose(error, np.mean((np.polyval(np.polyfit(x, y, 1), x) - y) ** 2), atol=1e-12)
    constant = np.full((5, 5, 2), 0.5)
    y = rng.normal(size=(5, 5, 2))
    np.testing.assert_allclose(mixing.depthwise_residual(constant, y), y.reshape(-1, 2).var(0))


def test_training_leaves_the_closed_form_to_depthwise_and_nothing_to_pointwise(photo):
    target = mixing.exchange_red_and_blue(photo)
    pointwise = mixing.fit(mixing.LAYERS["pointwise"], photo, target, 1500)["params"]
    np.testing.assert_allclose(pointwise["kernel"][0, 0], np.eye(3)[::-1], atol=1e-3)
    np.testing.assert_allclose(pointwise["bias"], 0, atol=1e-3)
    depthwise = mixing.LAYERS["depthwise"]
    variables = mixing.fit(depthwise, photo, target, 1500)
    assert (count(pointwise), count(variables)) == (12, 6)
    errors = ((np.asarray(depthwise.apply(variables, photo[None])[0]) - target) ** 2).mean((0, 1))
    np.testing.assert_allclose(errors, mixing.depthwise_residual(photo, target), atol=1e-6)


def test_two_voices_from_three_microphones():
    spoken = mixing.voices(60)
    heard = (spoken @ mixing.VOICES_TO_MICROPHONES).astype(np.float32)
    layer = PointwiseConv(2)
    unmixed = layer.apply(mixing.fit(layer, heard, spoken, 1500), heard[None])[0]
    np.testing.assert_allclose(unmixed, spoken, atol=1e-3)
    fits = [np.polyval(np.polyfit(heard[:, m], spoken[:, 0], 1), heard[:, m]) for m in range(3)]
    expected = min(np.mean((f - spoken[:, 0]) ** 2) for f in fits) / spoken[:, 0].var()
    np.testing.assert_allclose(mixing.best_single_microphone(heard, spoken[:, 0]), expected, rtol=1e-4)
    assert expected > 0.1


# Claim 4


@pytest.mark.parametrize(
    ("name", "direct", "layers"),
    [
        ("ResNet bottleneck", 9 * 256 * 256, [256 * 64, 9 * 64 * 64, 64 * 256]),
        ("Inception 3a, 5x5", 25 * 192 * 32, [192 * 16, 25 * 16 * 32]),
        ("SqueezeNet fire2", 9 * 96 * 128, [96 * 16, 16 * 64 + 9 * 16 * 64]),
        ("MobileNet separable", 9 * 512 * 512, [9 * 512, 512 * 512]),
    ],
)
def test_weights_of_the_blocks(name, direct, layers):
    assert cost.BLOCKS[name].parameters() == (direct, layers)


def test_fire2_has_the_parameters_of_squeezenets_table():
    _, layers = cost.BLOCKS["SqueezeNet fire2"].parameters()
    assert sum(layers) + 16 + 64 + 64 == 11_920  # with its biases


def test_two_linear_layers_are_one_of_low_rank(rng):
    difference, rank = cost.two_layers_as_one(rng)
    assert difference < 1e-5
    assert rank == 64


def test_times_are_of_both_networks(rng):
    small = cost.Block("here", 6, 8, PointwiseConv(8), (PointwiseConv(2), PointwiseConv(8)))
    assert min(small.times(rng, 2)) > 0


# Claim 5


def test_slide_classifies_the_crop_at_every_place(rng):
    image = rng.normal(size=(11, 14, 2)).astype(np.float32)
    slid = dense.slide(lambda x: np.stack([x.sum((1, 2, 3)), x[:, 0, 0, 1]], axis=-1), image, 5, 3, batch=4)
    assert slid.shape == (3, 4, 2)
    for row in range(3):
        for column in range(4):
            crop = image[3 * row : 3 * row + 5, 3 * column : 3 * column + 5]
            np.testing.assert_allclose(slid[row, column], [crop.sum(), crop[0, 0, 1]], rtol=1e-5, atol=1e-5)


def test_one_pass_equals_sliding_without_padding(rng):
    image = rng.uniform(size=(dense.CROP + 8, dense.CROP + 4, 3)).astype(np.float32)
    variables = random_variables(dense.SMALL, image[None, : dense.CROP, : dense.CROP], rng)
    result = dense.compare(dense.SMALL, variables, image, dense.CROP, dense.STRIDE, batch=6)
    assert result["map"].shape == (3, 2, 4)
    scale = np.abs(result["slid"]).max()
    assert scale > 0.01
    np.testing.assert_allclose(result["map"], result["slid"], atol=1e-5 * scale)
    assert result["same_size_difference"] < 1e-5


def test_vgg16_has_the_papers_parameters():
    params = shapes(fcn.create_classifier("vgg16"), jax.ShapeDtypeStruct((1, 224, 224, 3), np.float32))["params"]
    assert count(params["fc6"]) == dense.FC6 == 102_764_544
    assert count(params) == 138_357_544


# Claim 6


def test_parameters_and_image_size():
    convolutions = 14_714_688  # VGG16's, biases included
    fc7, fc8 = 4096 * 4096 + 4096, 4096 * 1000 + 1000
    scores = (4096 + 512 + 256) * 21 + 3 * 21
    fully_convolutional = convolutions + dense.FC6 + fc7 + scores
    for side in (64, 224):
        fc6 = (side // 32) ** 2 * 512 * 4096 + 4096
        assert sizes.parameters(side) == {"dense": convolutions + fc6 + fc7 + fc8, "fcn8s": fully_convolutional}


# Claim 7


def test_mean_of_the_scores_is_the_score_of_the_mean(rng):
    features = rng.normal(size=(2, 3, 5, 6)).astype(np.float32)
    head = {"kernel": rng.normal(size=(6, 4)).astype(np.float32), "bias": rng.normal(size=4).astype(np.float32)}
    expected = features.mean((1, 2)) @ head["kernel"] + head["bias"]
    for scores in heads.mean_of_scores(features, head):
        np.testing.assert_allclose(scores, expected, atol=2e-6)


def test_intersection_over_union_by_counting():
    labels, predicted = np.array([0, 0, 1, 1, 2, 3]), np.array([0, 1, 1, 1, 3, 3])
    assert heads.intersection_over_union(predicted, labels) == [1 / 2, 2 / 3, 0, 1 / 2]


def test_both_heads_have_the_same_parameters():
    params = shapes(heads.MODEL, jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32))["params"]
    assert params["sparse"]["kernel"].shape == (48, 4)
    assert params["dense"]["kernel"].shape == (1, 1, 48, 4)


# Claim 8


def test_pointwise_layers_of_fcn_and_unet():
    assert scoring.pointwise_kernels(fcn.create_model("fcn8s", num_classes=21)) == {
        "fc7": (1, 1, 4096, 4096),
        "score_fr": (1, 1, 4096, 21),
        "score_pool4": (1, 1, 512, 21),
        "score_pool3": (1, 1, 256, 21),
    }
    unet = fcn.create_model("unet", num_classes=2)
    assert list(scoring.pointwise_kernels(unet).values()) == [(1, 1, 64, 2)]
    assert len(scoring.convolution_kernels(unet)) == 23  # as in the paper


def test_equal_objects_have_equal_features(rng):
    features = instances.random_features(rng, (instances.discs() > 0).astype(np.float32))
    first, second = (features[r - 9 : r + 10, c - 9 : c + 10] for r, c in instances.CENTRES[:2])
    assert np.abs(first).max() > 0.1
    assert largest_difference(first, second) < 1e-5


def test_pull_and_push_by_hand():
    points = np.array([[0, 0], [0, 2], [1, 1]], np.float32)  # means (0, 1) and (1, 1), at a distance of 1
    member = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    np.testing.assert_allclose(instances.pull_and_push(points, member), 2 / 3 + 1, rtol=1e-5)
    np.testing.assert_allclose(instances.pull_and_push(points * [4, 0], member), 0, atol=1e-6)


def test_an_object_is_a_network_that_is_seen_from_its_place():
    """The same 169 numbers at five places; without the places each takes all five discs."""
    result, discs = conditional.measure(), instances.discs()
    np.testing.assert_array_equal(result.masks, discs == np.arange(1, 6)[:, None, None])
    assert conditional.by_hand().shape == (169,)
    assert result.overlap == {"features": pytest.approx(1 / 5), "features and place": 1}


# The page


def test_the_code_on_the_page_gives_the_worked_example():
    page = (ROOT / "docs" / "pointwise.md").read_text()
    names = {}
    exec(page.split("```python\n")[1].split("```")[0], names)
    np.testing.assert_array_equal(names["y"][0], per_pixel.worked_example())


def test_the_page_shows_every_picture_and_its_numbers_are_those_of_the_committed_run():
    page, folder = (ROOT / "docs" / "pointwise.md").read_text(), ROOT / "docs"
    result = json.loads((folder / "pictures" / "pointwise.json").read_text())
    assert all(claim["holds"] for claim in result["claims"].values())
    shown = set(re.findall(r"\]\((pictures/pointwise_\w+\.png)\)", page))
    assert shown == {f"pictures/{name}" for claim in result["claims"].values() for name in claim["pictures"]}
    assert all((folder / name).stat().st_size < 300_000 for name in shown)

    numbers = {int(number): claim["numbers"] for number, claim in result["claims"].items()}
    table = numbers[6]
    quoted = [f"{block[kind]:,}" for block in numbers[4]["blocks"].values() for kind in ("direct", "block")]
    quoted += [f"{block['ratio']:.1f} times" for block in numbers[4]["blocks"].values()]
    quoted += [" | ".join(f"{n / 1e6:.1f} M" for n in table[name]) for name in ("dense", "fcn8s")]
    quoted += [f"{weight:.4f}" for weight in numbers[2]["learned_weights"]]
    quoted += [f"{numbers[3]['depthwise_error'][c]:.4f}" for c in (0, 2)]
    quoted += [f"{100 * share:.0f} %" for share in numbers[3]["voices_share_best_single_microphone"]]
    quoted += [f"correlation is {numbers[5]['vgg16']['crop_correlation']:.2f}"]
    quoted += [f"{numbers[5]['parameters']['fc6']:,}", f"{numbers[7]['parameters']['sparse']} parameters"]
    quoted += [f"{100 * numbers[8]['instance_accuracy']['features and place']:.1f} %"]
    quoted += [f"overlap of {numbers[8]['conditional_overlap'][seen]:.0%}" for seen in ("features", "features and place")]
    assert [text for text in quoted if text not in " ".join(page.split())] == []


# Scenes and photo


def test_scenes_have_labels_where_the_objects_are(rng):
    pictures = scenes(rng, 40, 32, offsets=np.zeros((40, 2)))
    assert pictures.images.shape == (40, 32, 32, 3)
    assert pictures.images.min() >= 0
    assert pictures.images.max() <= 1
    assert set(pictures.image_labels) == {1, 2, 3}
    for labels, kind in zip(pictures.pixel_labels, pictures.image_labels):
        assert set(np.unique(labels)) == {0, kind}
        assert labels[16, 16] == (0 if kind == 2 else kind)  # a ring is empty in the middle
    again = scenes(np.random.default_rng(3), 40, 32, offsets=np.zeros((40, 2)))
    np.testing.assert_array_equal(again.images, pictures.images)


def test_random_variables_are_those_of_init(rng):
    x = np.zeros((1, 4, 4, 3), np.float32)
    wanted, made = shapes(ConvNormRelu(50), x), random_variables(ConvNormRelu(50), x, rng)
    assert jax.tree.map(np.shape, made) == jax.tree.map(np.shape, wanted)
    np.testing.assert_array_equal(made["batch_stats"]["bn"]["var"], 1)
    assert np.std(made["params"]["conv"]["kernel"]) == pytest.approx((2 / 27) ** 0.5, rel=0.1)


def test_photo_is_read_upright_and_scaled_down(tmp_path, rng):
    pixels = rng.integers(0, 256, (40, 20, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "small.png")
    np.testing.assert_array_equal(np.round(255 * load_photo(tmp_path / "small.png")), pixels)
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was turned by 90 degrees
    Image.fromarray(np.zeros((300, 900), np.uint8)).save(tmp_path / "large.jpg", exif=turned)
    assert load_photo(tmp_path / "large.jpg").shape == (320, 107, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"claims": (1, 9)}, "--claims 9: there are claims 1 to 8"),
        ({"claims": ()}, "at least one"),
        ({"width": 0.0}, "width is 0.0; it must be at least 0.015625 and at most 1"),
        ({"seed": -1}, "seed is -1; it must be at least 0"),
        ({"out": "text.txt"}, "text.txt is a file"),
        ({"image": "text.txt"}, "text.txt is not an image"),
        ({"image": "nowhere.png"}, "there is no image .*nowhere.png"),
        ({"image": "narrow.png"}, "too small or too narrow"),
    ],
)
def test_mistakes_are_named_before_anything_is_computed(tmp_path, options, message):
    (tmp_path / "text.txt").write_text("no image")
    Image.new("RGB", (500, 10)).save(tmp_path / "narrow.png")
    options = {"out": "out"} | options
    options |= {name: tmp_path / options[name] for name in ("out", "image") if name in options}
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        main(Options(**options))
    assert not list(tmp_path.glob("**/*.json"))


def test_a_gray_photo_of_ones_own_leaves_nothing_to_mix(tmp_path, capsys, photo):
    Image.fromarray(np.round(255 * photo[..., 1]).astype(np.uint8)).save(tmp_path / "gray.png")
    code = main(Options(out=tmp_path, image=tmp_path / "gray.png", claims=(3, 2), fast=True))
    assert code == 1
    assert "nothing to mix" in capsys.readouterr().out
    claims = json.loads((tmp_path / "pointwise.json").read_text())["claims"]
    assert {number: claim["holds"] for number, claim in claims.items()} == {"2": True, "3": False}


def test_command_shows_all_claims_and_writes_only_its_own_files(tmp_path):
    (tmp_path / "holiday.png").write_bytes(b"mine")
    command = [sys.executable, "-m", "experiments.pointwise", "--fast", "--width", "0.0625", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 of 8 claims hold" in done.stdout
    assert (tmp_path / "holiday.png").read_bytes() == b"mine"

    result = json.loads((tmp_path / "pointwise.json").read_text())
    assert list(result["claims"]) == [str(number) for number in range(1, 9)]
    pictures = [name for claim in result["claims"].values() for name in claim["pictures"]]
    assert len(set(pictures)) == len(pictures) == 11
    assert {path.name for path in tmp_path.iterdir()} == {"holiday.png", "pointwise.json", *pictures}
    for name in pictures:
        with Image.open(tmp_path / name) as picture:
            assert picture.width > 800
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 50  # something is drawn

    numbers = {int(number): claim["numbers"] for number, claim in result["claims"].items()}
    np.testing.assert_allclose(numbers[3]["depthwise_error"], numbers[3]["depthwise_error_closed_form"], atol=1e-5)
    assert numbers[5]["vgg16"]["feature_difference"] < 1e-4
    assert numbers[5]["ratios"]["vgg16"] > 1
    assert numbers[8]["instance_accuracy"]["features"] < 0.5 < 0.9 < numbers[8]["instance_accuracy"]["features and place"]
