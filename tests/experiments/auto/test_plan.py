"""The plans that nnU-Net's own planner makes of data, and the network that it then builds."""

import pytest

from experiments.auto.fingerprint import Fingerprint, fingerprint
from experiments.auto.plan import features, make_plan, map_entries, topology
from fcn.data import Prepared, open_source


@pytest.mark.parametrize(
    ("size", "images", "classes", "channels", "patch", "batch", "stages"),
    [
        ((360, 480), 367, 11, 3, (384, 512), 16, 7),  # CamVid
        ((180, 240), 367, 11, 3, (192, 256), 16, 6),
        ((512, 512), 20, 2, 1, (512, 512), 2, 8),  # ISBI 2012
        ((256, 256), 170, 2, 1, (256, 256), 8, 7),  # nuclei of DSB 2018
        ((375, 500), 1464, 21, 3, (384, 512), 16, 7),  # VOC
        ((128, 128), 3680, 3, 3, (128, 128), 184, 6),  # pets
    ],
)
def test_golden_plans(size, images, classes, channels, patch, batch, stages):
    plan = make_plan(Fingerprint(size, images, classes, channels))
    told = plan.to_json()
    assert (plan.patch, plan.batch_size, plan.stages) == (patch, batch, stages)
    assert (told["patch"], told["batch_size"], told["stages"]) == (list(patch), batch, stages)
    assert told["normalisation"] == ("rgb_to_0_1" if channels == 3 else "z-score")
    assert plan.features == (32, 64, 128, 256, 512, 512, 512, 512)[:stages]


@pytest.mark.parametrize(("size", "images", "batch"), [((36, 50, 35), 260, 9), ((36, 51, 35), 100, 4), ((36, 50, 35), 130, 5)])
def test_golden_plans_of_volumes(size, images, batch):
    """The hippocampus of the Medical Segmentation Decathlon; more of it allows larger batches."""
    told = make_plan(Fingerprint(size, images, 3, 1, spacing=(1.0, 1.0, 1.0))).to_json()
    assert (told["patch"], told["batch_size"], told["stages"]) == ([40, 56, 40], batch, 4)
    assert (told["features"], told["normalisation"]) == ([32, 64, 128, 256], "z-score")
    assert told["strides"] == [[1] * 3, *[[2] * 3] * 3] and told["kernel_sizes"] == [[3] * 3] * 4


@pytest.mark.slow
def test_the_plan_of_real_volumes(shared_data):
    source = open_source("folder", "train", root=shared_data / "hippocampus3d", per_image="z-score")
    found = fingerprint(Prepared(source, cache=False, mixed=True))
    assert (found.size, found.images, found.channels, found.spacing) == ((36, 51, 35), 100, 1, (1.0,) * 3)
    plan = make_plan(found)
    assert (plan.patch, plan.batch_size, plan.stages) == ((40, 56, 40), 4, 4) and not found.alike and not found.resampled


def test_coarse_slices_wait_until_pixels_are_as_coarse():
    """As of the Decathlon's prostates: 20 slices of 320x319 pixels, 3.6 mm and 0.6 mm apart."""
    plan = make_plan(Fingerprint((20, 320, 319), 32, 3, 2, alike=False, spacing=(3.6, 0.61, 0.61)))
    assert (plan.patch, plan.batch_size, plan.features) == ((20, 320, 256), 2, (32, 64, 128, 256, 320, 320, 320))
    assert plan.topology.strides == ((1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2), (1, 2, 2))
    assert plan.topology.kernels == ((1, 3, 3), (1, 3, 3), *[(3, 3, 3)] * 5)


@pytest.mark.parametrize(
    ("size", "pools", "padded"),
    [
        ((360, 480), (6, 6), (384, 512)),
        ((64, 1000), (4, 7), (64, 1024)),  # the longer side goes on alone
        ((8, 11), (1, 1), (8, 12)),  # 6 columns are left, which alone are halved only where 12 are
        ((7, 7), (0, 0), (7, 7)),
    ],
)
def test_sides_are_halved_while_enough_is_left(size, pools, padded):
    found, whole = topology(size, (1.0, 1.0))
    assert (found.pools, whole) == (pools, padded) and len(found.kernels) == len(found.strides)


def test_less_memory_makes_smaller_patches_by_the_side_that_is_longest_beside_the_median():
    data = Fingerprint((500, 1000), 20, 2, 1)
    for gigabytes in (2, 1, 0.5):
        plan = make_plan(data, gigabytes)
        assert gigabytes / 16 < map_entries(plan.patch, plan.topology.strides, 2) / 12 * 2 / 85e6 <= gigabytes / 8
        assert plan.patch[1] / plan.patch[0] == pytest.approx(1000 / 500, rel=0.15) and plan.batch_size >= 2
        assert topology(plan.patch, plan.spacing) == (plan.topology, plan.patch)
    with pytest.raises(ValueError, match=r"memory of 1e-05 GB holds no patch of these images; give more: --memory 8GB"):
        make_plan(data, 1e-5)


def test_entries_of_the_maps_of_a_small_network():
    """Two stages: 32 features at 8x8 five times, 64 at 4x4 twice, three logits."""
    assert features(2) == (32, 64)
    assert map_entries((8, 8), ((1, 1), (2, 2)), 3) == 5 * 32 * 64 + 2 * 64 * 16 + 3 * 64
