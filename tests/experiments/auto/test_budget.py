"""What a time makes of a plan: pure arithmetic."""

import math

import pytest

from experiments.auto.budget import Evaluation, Rung, is_right, length, pick, rungs
from experiments.auto.config import AutoConfig, read_memory, read_time
from experiments.auto.fingerprint import Fingerprint
from experiments.auto.options import augmentation, configured, image_network, network, reasons, statistics, with_length
from experiments.auto.plan import Topology, make_plan
from experiments.configuration.config import DataConfig, LossConfig
from fcn.data import AugmentConfig

CAMVID = Fingerprint((360, 480), 367, 11, 3, width=17.4)
MEMBRANES = Fingerprint((512, 512), 21, 2, 1, width=5.6)
NUCLEI = Fingerprint((256, 256), 170, 2, 1, alike=False, width=12.6, uneven=True)
HEADS = Fingerprint((36, 51, 35), 100, 3, 1, alike=False, spacing=(1.0, 1.0, 1.0))
TWO_CORES = 30e9


def halved(poolings, axes=2):
    return Topology(((1,) * axes, *[(2,) * axes] * poolings), ((3,) * axes,) * (poolings + 1))


@pytest.mark.parametrize(
    ("data", "stems", "minutes", "chosen", "steps"),
    [
        (CAMVID, {1, 2, 4}, 15, (16, 4, (360, 480), 8), 1376),
        (MEMBRANES, {1}, 15, (8, 1, (256, 256), 8), 910),
        (NUCLEI, {1, 2}, 15, (16, 2, (256, 256), 8), 868),
        (NUCLEI, {1, 2}, 1, (8, 2, (256, 256), 4), 458),
        (MEMBRANES, {1}, 1440, (32, 1, (512, 512), 2), 5436),
        (HEADS, {1}, 20, (16, 1, (40, 56, 40), 2), 936),
    ],
)
def test_the_largest_network_is_chosen_that_makes_enough_steps(data, stems, minutes, chosen, steps):
    choices = rungs(make_plan(data), data)
    assert {rung.stem for rung in choices} == stems  # classes keep four pixels
    works = [rung.work(data.channels, data.classes) for rung in choices]
    assert works == sorted(works, reverse=True) and choices[0].whole and len(set(choices)) == len(choices)
    rung, made = pick(choices, data, TWO_CORES, 60 * minutes)
    assert (rung.base, rung.stem, rung.patch, rung.batch) == chosen and made == steps


def test_work_of_a_small_network():
    """One pooling, 2 and 4 features, 8x8 pixels of one channel: the multiplications of its convolutions, three times."""
    down = 64 * 9 * 2 * (1 + 2) + 16 * 9 * 4 * (2 + 4)
    up = 64 * (9 * 2 * (4 + 2)) + 64 * 4 * 2 / 4 * 4
    assert Rung(2, 1, halved(1), (8, 8), 1).work(1, 3) == 3 * (down + up + 64 * 2 * 3)


def test_all_time_becomes_steps_evaluations_and_compilation():
    rung = Rung(16, 1, halved(4), (100, 100), 8)
    found = length(rung, 0.5, 20.0, Evaluation(pixels=40 * 100 * 100, shapes=2), 900.0)
    one = 0.5 / 3 * 40 / 8
    spent = found.steps * 0.5 + 11 * one + 20 * 2.1 + 15
    assert spent == pytest.approx(0.9 * 900, abs=0.5) and found.eval_every == math.ceil(found.steps / 10)
    assert length(rung, 0.5, 20.0, Evaluation(10**9, 8), 5.0, fixed=7).steps == 7
    with pytest.raises(ValueError, match=r"60 s of the budget are left, .* 10 steps of 0\.5 s; give 2 minutes more"):
        length(rung, 0.5, 30.0, Evaluation(40 * 100 * 100, 2), 60.0)


@pytest.mark.parametrize(("step", "right"), [(0.5, True), (2.0, False), (0.05, False)])
def test_a_network_that_was_timed_is_kept_if_it_is_about_right(step, right):
    assert is_right(step, 900, 1000) == right


def test_options_of_a_rung():
    asked = AutoConfig(budget="15m")
    plan = make_plan(NUCLEI)
    small = pick(rungs(plan, NUCLEI), NUCLEI, TWO_CORES, 900)[0]
    run = with_length(configured(asked, small, NUCLEI, 900), length(small, 0.5, 9, Evaluation(9, 1), 900))
    assert run.data.crop == (256, 256) and run.data.channels == 1 and run.data.normalise == "percentiles"
    assert run.model.options == ("base_features=16", "depth=5", "max_features=256", "activation=leaky_relu", "stem_stride=2")
    assert (run.batch_size, run.sampling.foreground, run.loss.dice, run.task) == (8, 0.33, 1.0, "semantic")
    assert (run.eval_every, run.checkpoint_every, run.log_every) == (-(-run.steps // 10), run.eval_every, 50)
    whole = configured(asked, rungs(make_plan(CAMVID), CAMVID)[0], CAMVID, 9000)
    assert whole.data.crop is None and whole.sampling.foreground == 0 and whole.augment.preset == "standard"
    assert {"norm=instance", "deep_supervision=true"} < set(image_network(rungs(make_plan(CAMVID), CAMVID)[0]))


def test_options_of_volumes():
    """nnU-Net's network, flat where slices lie far apart; no turning over of what lies alike in all."""
    flat = Fingerprint((20, 200, 160), 30, 2, 1, alike=False, spacing=(5.0, 1.0, 1.0), resampled=True, ct=True)
    rung = next(rung for rung in rungs(make_plan(flat), flat) if rung.base == 8)
    run = configured(AutoConfig(), rung, flat, 900)
    assert run.model.name == network(rung).name == "plain_conv_unet"
    options = run.model.keywords()
    assert rung.patch == (20, 112, 80) and options["features_per_stage"] == [8, 16, 32, 64, 80]
    assert options["strides"] == [[1, 1, 1], [1, 2, 2], [1, 2, 2], [2, 2, 2], [2, 2, 2]]
    assert options["kernel_sizes"] == [[1, 3, 3], [1, 3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3]]
    assert (run.data.crop, run.data.channels, run.data.spacing) == ((20, 112, 80), None, (5.0, 1.0, 1.0))
    assert (run.data.normalise, run.sampling.foreground) == ("ct", 0.33)
    assert not (run.augment.flip or run.augment.vertical_flip)
    assert statistics(DataConfig("folder"), HEADS) == "z-score"
    told = list(reasons(make_plan(flat), flat, 8))
    assert told[0] == "spacing 5x1x1 mm: the median of several, to which volumes are resampled"
    assert "at most 5 % of 30 volumes, at least 2" in told[2]


def test_what_each_kind_of_image_gets():
    rung = Rung(16, 1, halved(4), (256, 256), 8)
    assert augmentation(rung, MEMBRANES, 1000).preset == "nnunet"  # each image 380 times
    few = augmentation(rung, NUCLEI, 1000)
    assert few.preset == "none" and few.vertical_flip and not augmentation(rung, CAMVID, 1000).vertical_flip
    assert statistics(DataConfig("folder"), MEMBRANES) == "z-score"
    assert statistics(DataConfig("tfds:x"), MEMBRANES) == "dataset"
    assert statistics(DataConfig("folder"), CAMVID) == "weights"
    told = "normalisation z-score: 64 images were looked at, all are gray; --data.channels 3 keeps colours of others"
    assert told in reasons(make_plan(NUCLEI), NUCLEI, 8)


def test_what_is_asked_for_is_not_planned_against():
    """Terms of a loss, and what would stand beside a list of operations."""
    asked = AutoConfig(loss=LossConfig(terms="focal"), augment=AugmentConfig(brightness=0.5))
    run = configured(asked, Rung(16, 1, halved(4), (256, 256), 8), MEMBRANES, 1000)
    assert (run.loss.terms, run.loss.dice) == ("focal", 0) and run.augment.preset == "none" and run.augment.vertical_flip


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("20m", 1200), ("1h30m", 5400)])
def test_times(text, seconds):
    assert read_time(text) == seconds


@pytest.mark.parametrize("text", ["20", "m", "0m", "20 m", "1x", ""])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match=r"budget is '.*'; it must be a time such as 90s, 20m or 1h30m"):
        AutoConfig(budget=text)


def test_sizes_of_memory():
    assert (read_memory("8GB"), read_memory("1.5GiB"), read_memory("500MB")) == (8e9, 1.5 * 2**30, 5e8)
    with pytest.raises(ValueError, match="memory is '8'; it must be a size such as 8GB or 500MB"):
        AutoConfig(memory="8")
