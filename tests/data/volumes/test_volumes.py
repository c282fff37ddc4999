"""Volumes and signals as sources: files, layouts, classes, spacing and orientation, and what is wrong with them."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from experiments.auto.fingerprint import fingerprint
from experiments.prediction.volumes import planned
from fcn.data import AugmentConfig, Prepared, TrainLoader, check_source, eval_batches, open_source
from fcn.data.checks.check import without_faults
from fcn.data.loading.mapped import Mapped
from fcn.data.loading.sampling import SamplingConfig, make_order
from fcn.data.source import Subset, channel_names
from fcn.data.volumes import read_volume, resample, resample_label, write_label_volume
from fcn.data.volumes.values import thinned

SIDES = (8, 7, 6)
RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.normal(100, 20, SIDES).astype(np.float32)
LABEL = (IMAGE > 110).astype(np.uint8)


def nifti(path, values, affine=None, zooms=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(values, np.diag([1.0, 2.0, 3.0, 1.0]) if affine is None else affine)
    if zooms is not None:
        image.header["pixdim"][1:4] = zooms
    nibabel.save(image, path)


def opened(root, split="train", **how) -> Any:
    return open_source("folder", split, root=root, **how)


def pair(root, name="a", image: np.ndarray = IMAGE, label: np.ndarray = LABEL, split="train", **how):
    nifti(root / "images" / split / f"{name}.nii.gz", image, **how)
    nifti(root / "labels" / split / f"{name}.nii.gz", label)


def test_a_volume_keeps_its_spacing_and_is_z_scored(tmp_path):
    pair(tmp_path)
    source = opened(tmp_path, per_image="z-score")
    sample = source[0]
    assert sample["spacing"] == (1.0, 2.0, 3.0) and sample["name"] == "a" and source.classes == ("class_0", "class_1")
    expected = 127.5 + 42.5 * (IMAGE - IMAGE.mean()) / IMAGE.std()
    np.testing.assert_allclose(sample["image"][..., 0], expected, rtol=1e-5)
    np.testing.assert_array_equal(sample["label"], LABEL)
    assert source.value_range is None and source.padding == 127.5 and source.image_size(0) == SIDES
    check_source(source)


def test_values_outside_the_range_of_what_is_labelled_are_clipped(tmp_path):
    pair(tmp_path)
    source = opened(tmp_path)
    low, high = np.percentile(IMAGE[LABEL == 1], (0.5, 99.5))
    assert source.value_range == pytest.approx((low, high))
    np.testing.assert_allclose(source[0]["image"][..., 0], 255 * (np.clip(IMAGE, low, high) - low) / (high - low), atol=1e-3)
    assert source.remarks[-1].endswith(f"stored values {low:g}..{high:g} are 0..255") and source.padding == 0


def test_axes_run_right_to_the_front_and_up_and_predictions_lie_as_the_file_does(tmp_path):
    affine = np.array([[0, -1, 0, 5], [2, 0, 0, 0], [0, 0, 3, 1], [0, 0, 0, 1.0]])  # left is the second axis
    nifti(tmp_path / "a.nii.gz", LABEL, affine)
    volume = read_volume(tmp_path / "a.nii.gz")
    assert volume.spacing == (1.0, 2.0, 3.0)
    np.testing.assert_array_equal(volume.values, np.swapaxes(LABEL, 0, 1)[::-1])
    write_label_volume(tmp_path / "b.nii.gz", np.asarray(volume.values, np.int32), tmp_path / "a.nii.gz")
    written: Any = nibabel.load(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(written.dataobj, LABEL)
    np.testing.assert_array_equal(written.affine, affine)
    assert written.get_data_dtype() == np.uint8


def test_nnu_nets_raw_format_joins_the_channels_of_a_case(tmp_path):
    for number, channel in enumerate((IMAGE, 2 * IMAGE)):
        nifti(tmp_path / "imagesTr" / f"case_000{number}.nii.gz", channel)
    nifti(tmp_path / "labelsTr" / "case.nii.gz", LABEL)
    labels = {"background": 0, "hippocampus": 1}
    described = {"labels": labels, "file_ending": ".nii.gz", "channel_names": {"0": "CT", "1": "PET"}}
    (tmp_path / "dataset.json").write_text(json.dumps(described))
    source = opened(tmp_path, "all", value_range=(0, 255))
    sample = source[0]
    assert source.classes == ("background", "hippocampus") and sample["name"] == "case"
    assert channel_names(Subset(source, [0])) == ("CT", "PET")
    np.testing.assert_allclose(sample["image"], np.clip(np.stack([IMAGE, 2 * IMAGE], -1), 0, 255), rtol=1e-5)


def test_files_that_end_in_numbers_are_volumes_of_their_own_but_in_nnu_nets_format(tmp_path):
    for number in range(2):
        pair(tmp_path, f"scan_000{number}", image=(number + 1) * IMAGE)
    source = opened(tmp_path, value_range=(0, 255))
    assert source.names == ["scan_0000", "scan_0001"] and len(source.file_sizes()) == 4
    np.testing.assert_allclose(source[1]["image"][..., 0], np.clip(2 * IMAGE, 0, 255), rtol=1e-5)
    alone, joined = (planned([tmp_path], tmp_path / "out", False, "refused", joined=joined) for joined in (False, True))
    assert [files.done.name for files in alone] == ["scan_mask.nii.gz", "scan_0001_mask.nii.gz"] and len(joined) == 1


def test_the_decathlon_is_read_as_it_is_unpacked(tmp_path):
    nifti(tmp_path / "imagesTr" / "hippocampus_001.nii.gz", np.stack([IMAGE, 2 * IMAGE], -1))
    nifti(tmp_path / "labelsTr" / "hippocampus_001.nii.gz", LABEL)
    files = {"training": [{"image": "./imagesTr/hippocampus_001.nii.gz", "label": "./labelsTr/hippocampus_001.nii.gz"}]}
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"0": "background", "1": "Anterior"}, **files}))
    source = opened(tmp_path, "all", value_range=(0, 255))
    assert source.classes == ("background", "Anterior") and source.names == ["hippocampus_001"]
    assert source[0]["image"].shape == (*SIDES, 2) and source[0]["label"].sum() == LABEL.sum()


def test_labels_that_cannot_be_read_are_left_out(tmp_path):
    for name in "abc":
        pair(tmp_path, name)
    (tmp_path / "labels" / "train" / "a.nii.gz").write_bytes(b"none")
    pair(tmp_path, "b", label=LABEL[1:])
    source = opened(tmp_path)
    left: Any = without_faults(source)
    assert left.left_out == (0, 1) and source.classes == ("class_0", "class_1")
    np.testing.assert_array_equal(left[0]["label"], LABEL)
    assert source.value_range == pytest.approx(tuple(np.percentile(IMAGE[LABEL == 1], (0.5, 99.5))))


def test_a_range_is_that_of_what_is_labelled_where_anything_is(tmp_path):
    pair(tmp_path)
    pair(tmp_path, "b", image=IMAGE + 1000, label=0 * LABEL)
    assert opened(tmp_path).value_range == pytest.approx(tuple(np.percentile(IMAGE[LABEL == 1], (0.5, 99.5))))
    few = thinned(np.array([np.nan, 1.0]).repeat(150_000))
    assert few.size == 50_000 and (few == 1).all(), "each third of 300000, of which half are no numbers"


def test_classes_of_volumes_are_drawn_equally_often(tmp_path):
    for name, label in (("a", 0 * LABEL), ("b", LABEL), ("c", 0 * LABEL)):
        pair(tmp_path, name, label=label)
    order: Any = make_order(SamplingConfig(balance=True), Prepared(opened(tmp_path, per_image="z-score")), None)
    np.testing.assert_allclose(order.weights, (1 / 6, 2 / 3, 1 / 6))


def test_resampling_takes_a_spacing_of_each_file(tmp_path):
    root = _arrays(tmp_path, images_a_npy=IMAGE, labels_a_npy=LABEL)
    with pytest.raises(ValueError, match="its file says no spacing, which resampling takes"):
        check_source(opened(root, "all", spacing=(1.0, 1.0, 1.0), per_image="z-score"))


def test_headers_are_looked_at_by_one_thread_at_a_time(tmp_path, monkeypatch):
    """nibabel's level of errors is that of all threads."""
    nifti(tmp_path / "a.nii.gz", IMAGE)
    inside, most = [], []

    def load(path, own=nibabel.load):
        inside.append(path)
        time.sleep(0.01)
        most.append(len(inside))
        inside.pop()
        return own(path)

    monkeypatch.setattr(nibabel, "load", load)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(read_volume, [tmp_path / "a.nii.gz"] * 3))
    assert most == [1, 1, 1]


def test_threads_keep_what_they_put_on_the_disk_apart(monkeypatch):
    mapped, barrier, save = Mapped(), threading.Barrier(3), np.save
    monkeypatch.setattr(np, "save", lambda *given: (barrier.wait(5), save(*given)))
    with ThreadPoolExecutor(3) as pool:
        found: Any = [one["a"] for one in pool.map(lambda number: mapped.put({"a": np.full(2, number)}), range(3))]
    assert [values.tolist() for values in found] == [[0, 0], [1, 1], [2, 2]]
    assert len({Path(values.filename).parent for values in found}) == 1


@pytest.mark.parametrize("suffix", ["npy", "npz", "tif"])
def test_arrays_and_stacks_of_pages_are_volumes(tmp_path, suffix):
    for folder, values in (("images", IMAGE), ("labels", LABEL)):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / f"a.{suffix}"
        if suffix == "npy":
            np.save(path, values)
        elif suffix == "npz":
            np.savez(path, image=values, spacing=(1, 1, 2))
        else:
            tifffile.imwrite(path, values, photometric="minisblack")
    source = opened(tmp_path, "all", value_range=(0, 255), pages="slices" if suffix == "tif" else None)
    np.testing.assert_allclose(source[0]["image"][..., 0], np.clip(IMAGE, 0, 255), rtol=1e-5)
    np.testing.assert_array_equal(source[0]["label"], LABEL)
    assert source[0]["spacing"] == ((1, 1, 2) if suffix == "npz" else (1, 1, 1))


def test_tables_are_signals(tmp_path):
    for folder, text in (("images", "east,north\n1,10\n2,20\n3,30\n"), ("labels", "class\n0\n1\n1\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.csv").write_text(text)
    source = opened(tmp_path, "all", value_range=(0, 30))
    with pytest.raises(ValueError, match=r"auto plans networks of images and volumes, and .* holds signals"):
        fingerprint(Prepared(source))
    np.testing.assert_allclose(source[0]["image"], [[8.5, 85], [17, 170], [25.5, 255]], rtol=1e-6)
    assert source[0]["label"].tolist() == [0, 1, 1]


def _arrays(root, **arrays):
    """images/NAME and labels/NAME of such values; csv of one line, pictures of 8 bits."""
    for place, values in arrays.items():
        folder, name, suffix = place.split("_")
        path = root / folder / f"{name}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if suffix == "npy":
            np.save(path, values)
        elif suffix == "csv":
            np.savetxt(path, values)
        else:
            Image.fromarray(values.astype(np.uint8)).save(path)
    return root


def test_folders_of_images_stay_folders_of_images(tmp_path):
    flat, line = LABEL[0], np.ones(4)
    root = _arrays(tmp_path / "values", images_a_npy=flat, labels_a_npy=np.float32(flat) / 2)
    np.testing.assert_array_equal(opened(root, "all", label_kind="values")[0]["label"][..., 0], np.float32(flat) / 2)
    with pytest.raises(ValueError, match=r"labels/a\.npy: a label of 2 axes; those of signals have 1"):
        opened(root, "all")
    pictures = {"images_a_png": flat, "labels_a_png": flat}
    for number, stray in enumerate(
        [{"images_x_csv": line, "labels_x_csv": line}, {"images_x_csv": line, "labels_y_npy": line}, {"images_a_npy": line}]
    ):
        source = opened(_arrays(tmp_path / str(number), **pictures, **stray), "all")
        assert source[0]["image"].dtype == np.uint8 and len(source) == 1
        np.testing.assert_array_equal(source[0]["label"], flat)


def test_crops_of_volumes_lie_around_what_is_labelled(tmp_path):
    label = np.zeros(SIDES, np.uint8)
    label[6, 5, 4] = 2
    pair(tmp_path, label=label)
    pair(tmp_path, "b", image=IMAGE[:3], label=label[:3])
    source = opened(tmp_path, per_image="z-score")
    samples = Prepared(source, crop=(4, 4, 4), foreground=1.0)
    batch = samples.batch(np.array([0, 1, -1]), np.array([0, 0, 0]))
    assert batch["image"].shape == (3, 4, 4, 4, 1) and batch["image"].dtype == np.float32
    assert (batch["label"][0] == 2).sum() == 1
    outside = batch["label"] == 255
    assert outside[1].sum() == 16 and outside[2].all(), "the second volume has three slices"
    assert (batch["image"][outside] == 127.5).all()
    whole = list(eval_batches(Prepared(source, mixed=True), 2))
    assert [one["image"].shape[1:4] for one in whole] == [SIDES, (3, 7, 6)]
    loader = TrainLoader(samples, batch_size=2, seed=0)
    assert next(loader)["image"].shape == (2, 4, 4, 4, 1)


def test_patches_are_read_of_volumes_that_memory_does_not_hold(tmp_path, monkeypatch):
    pair(tmp_path)
    source = opened(tmp_path, per_image="z-score")
    held = Prepared(source, crop=(4, 4, 4), foreground=0.5)
    monkeypatch.setattr("fcn.data.loading.samples.CACHE_BYTES", 0)
    mapped = Prepared(source, crop=(4, 4, 4), foreground=0.5)
    reads = []
    monkeypatch.setattr(mapped, "read", lambda index, own=mapped.read: reads.append(index) or own(index))
    for epoch in range(4):
        one, other = (samples.batch(np.array([0]), np.array([epoch])) for samples in (held, mapped))
        for name, values in one.items():
            np.testing.assert_array_equal(values, other[name])
            assert values.dtype == other[name].dtype
    assert reads == [0] and isinstance(mapped[0]["image"], np.memmap) and mapped.in_memory


def test_volumes_are_resampled_to_a_spacing(tmp_path):
    pair(tmp_path)
    source = opened(tmp_path, value_range=(0, 255), spacing=(1.0, 1.0, 1.0))
    sample = source[0]
    assert sample["image"].shape == (8, 14, 18, 1) and sample["spacing"] == (1, 1, 1)
    assert sample["image"][:, :, 1, 0].mean() == pytest.approx(np.clip(IMAGE, 0, 255)[:, :, 0].mean(), rel=1e-3)
    np.testing.assert_array_equal(sample["label"][:, ::2, 1::3], LABEL)


def test_what_is_resampled_and_brought_back_keeps_straight_lines():
    ramp = np.broadcast_to(np.arange(16.0)[:, None, None, None], (16, 4, 4, 1))
    back = resample(resample(ramp, (8, 4, 4)), (16, 4, 4))
    np.testing.assert_allclose(back[2:-2, 0, 0, 0], np.arange(16.0)[2:-2], atol=1e-5)
    assert resample_label(np.array([[0, 1], [2, 3]]), (4, 2))[:, 0].tolist() == [0, 0, 2, 2]


def _other_shape(root):
    pair(root, label=LABEL[:7])


def _other_place(root):
    pair(root, affine=np.diag([-1.0, 2.0, 3.0, 1.0]))


def _channels(root, second, affine=None):
    nifti(root / "imagesTr" / "case_0000.nii.gz", IMAGE)
    nifti(root / "imagesTr" / "case_0001.nii.gz", second, affine)
    nifti(root / "labelsTr" / "case.nii.gz", LABEL)
    (root / "train.txt").write_text("case\n")
    (root / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "one": 1}, "file_ending": ".nii.gz"}))


def _a_channel_of_other_shape(root):
    _channels(root, IMAGE.T)


def _a_channel_of_other_place(root):
    _channels(root, IMAGE, np.diag([1.0, 2.0, 4.0, 1.0]))


def _other_spacing(root):
    for folder, values, last in (("images", IMAGE, 2), ("labels", LABEL, 3)):
        (root / folder / "train").mkdir(parents=True)
        np.savez(root / folder / "train" / "a.npz", data=values, spacing=(1, 1, last))


def _spacing_of_two(root):
    pair(root)
    (root / "images" / "train" / "a.nii.gz").unlink()
    np.savez(root / "images" / "train" / "a.npz", data=IMAGE, spacing=(1, 2))


def _no_spacing(root):
    pair(root, zooms=(0, 0, 0))


def _no_classes(root):
    pair(root, label=(LABEL / 2).astype(np.float32))


def _damaged(root):
    pair(root)
    (root / "images" / "train" / "a.nii.gz").write_bytes(b"none")


def _of_another_rank(root):
    pair(root, image=IMAGE[0])


WRONG = {
    _other_shape: "its shape is 7x7x6, that of the image .* is 8x7x6",
    _a_channel_of_other_shape: "case_0001.nii.gz: its shape is 6x7x8, that of the image .*case_0000.nii.gz is 8x7x6",
    _a_channel_of_other_place: "case_0001.nii.gz: its axes, spacing or origin are not those of the image .*case_0000",
    _other_spacing: "labels/train/a.npz: its axes, spacing or origin are not those of the image",
    _other_place: "its axes, spacing or origin are not those of the image",
    _no_spacing: "its header says no spacing",
    _spacing_of_two: r"a.npz: the spacing \[1.0, 2.0\]; give a number above 0 for each of its 3 axes",
    _no_classes: "values such as 0.5; labels are whole class numbers",
    _damaged: "a.nii.gz: not read, or damaged",
    _of_another_rank: "volumes have three axes",
}


@pytest.mark.parametrize("make", WRONG)
def test_what_is_wrong_with_a_volume_is_said_in_a_sentence(tmp_path, make):
    make(tmp_path)
    with pytest.raises(ValueError, match=WRONG[make]):
        check_source(opened(tmp_path, per_image="z-score"))


def test_what_does_not_fit_volumes_is_refused(tmp_path):
    pair(tmp_path)
    with pytest.raises(ValueError, match="labelled by class numbers; this task needs instances"):
        opened(tmp_path, label_kind="instances")
    with pytest.raises(ValueError, match=r"channels is 1; of volumes and signals, .* all channels are read"):
        opened(tmp_path, channels=1)
    source = opened(tmp_path, per_image="z-score")
    with pytest.raises(ValueError, match=r"augment\.vertical_flip turns images upside down, and signals have one axis"):
        AugmentConfig(vertical_flip=True).pipeline_for(1)
    with pytest.raises(ValueError, match=r"the crop 4x4 has 2 sides; .* holds volumes, which have 3 sides"):
        Prepared(source, crop=(4, 4))
    with pytest.raises(ValueError, match=r"size resizes images, and .* holds volumes"):
        Prepared(source, (4, 4))
