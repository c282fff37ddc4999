"""TFDS data sets, through small prepared copies with the same features, in both file formats, without TensorFlow."""

import io
import json

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from tensorboardX.record_writer import RecordWriter

from fcn.data import check_source, open_source
from fcn.data.sources.tfds import TfdsSource

SIZE = (12, 16)


def encode(values, kind="png"):
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, kind)
    return buffer.getvalue()


def image(index, channels=3):
    shape = (*SIZE, 3) if channels == 3 else SIZE
    return np.random.default_rng(index).integers(0, 256, shape).astype(np.uint8)


def values(index, allowed):
    return np.random.default_rng(99 + index).choice(np.array(allowed, np.uint8), SIZE)


def prepare(root, set_name, features, example, splits=("train",), version="1.0.0", config=None):
    """Write four examples a split with a builder called `set_name`."""

    class Small(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = set_name
        VERSION = tfds.core.Version(version)
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=config)] if config else []

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples() for split in splits}

        def _generate_examples(self):
            for index in range(4):
                yield index, example(index)

    Small(data_dir=str(root), file_format="array_record").download_and_prepare()


PETS = {
    "image": tfds.features.Image(encoding_format="jpeg"),
    "label": tfds.features.ClassLabel(num_classes=37),
    "species": tfds.features.ClassLabel(names=["Cat", "Dog"]),
    "file_name": tfds.features.Text(),
    "segmentation_mask": tfds.features.Image(shape=(None, None, 1), use_colormap=True),
    "head_bbox": tfds.features.BBoxFeature(),
}


def pet(index):
    return {
        "image": encode(image(index)),
        "label": index,
        "species": index % 2,
        "file_name": f"Abyssinian_{index}.jpg",
        "segmentation_mask": encode(values(index, [1, 2, 3])),
        "head_bbox": tfds.features.BBox(0.1, 0.1, 0.5, 0.5),
    }


def numbers(source):
    """The examples in the order in which TFDS shuffled them, told by their images."""
    originals = [image(i, source.channels).reshape(*SIZE, -1) for i in range(4)]
    return [next(i for i in range(4) if np.array_equal(originals[i], s["image"])) for s in source]


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    root = tmp_path_factory.mktemp("tfds")
    prepare(root, "oxford_iiit_pet", PETS, pet, splits=("train", "test"), version="4.0.0")
    return root


def test_pets_count_from_zero(pets):
    source = open_source("tfds:oxford_iiit_pet", "train", root=pets)
    assert source.classes == ("pet", "background", "border") and len(source) == 4
    assert source.palette.shape == (3, 3) and source.ignore_index == 255 and source.name == "oxford_iiit_pet"
    assert sorted(numbers(source)) == [0, 1, 2, 3]
    for index, sample in zip(numbers(source), source):
        np.testing.assert_array_equal(sample["label"], values(index, [1, 2, 3]).astype(int) - 1)
        assert sample["label"].dtype == np.int32
        assert sample["name"].endswith(f"(Abyssinian_{index}.jpg)")
    check_source(source)
    assert len(open_source("tfds:oxford_iiit_pet", "test[1:]", root=pets)) == 3
    assert source.file_sizes() == {path.name: path.stat().st_size for path in pets.rglob("*-train.*")}
    gray = open_source("tfds:oxford_iiit_pet:4.0.0", "train", root=pets, channels=1)
    assert gray[0]["image"].shape == (*SIZE, 1)


def test_scene_parsing_reduces_zero_and_reads_the_first_channel(tmp_path):
    features = {"image": tfds.features.Image(encoding_format="jpeg"), "annotation": tfds.features.Image(encoding_format="png")}

    def example(index):
        mask = values(index, range(151))
        mask[0, 0] = 0
        coloured = np.stack([mask, 0 * mask + 7, 0 * mask], -1)  # category, instance, nothing
        return {"image": encode(image(index)), "annotation": encode(coloured if index % 2 else mask)}

    prepare(tmp_path, "scene_parse150", features, example)
    source = open_source("tfds:scene_parse150", "train", root=tmp_path)
    assert len(source.classes) == 150
    for index, sample in zip(numbers(source), source):
        mask = values(index, range(151)).astype(int)
        mask[0, 0] = 0
        np.testing.assert_array_equal(sample["label"], np.where(mask == 0, 255, mask - 1))
    check_source(source)


def test_cityscapes_takes_the_nineteen_classes(tmp_path):
    shape = {"encoding_format": "png"}
    features = {
        "image_id": tfds.features.Text(),
        "image_left": tfds.features.Image(shape=(*SIZE, 3), **shape),
        "segmentation_label": tfds.features.Image(shape=(*SIZE, 1), use_colormap=True, **shape),
    }

    def example(index):
        mask = encode(values(index, range(34)))
        return {"image_id": f"aachen_{index}", "image_left": encode(image(index)), "segmentation_label": mask}

    prepare(tmp_path, "cityscapes", features, example, ("train", "validation"), config="semantic_segmentation")
    source = open_source("tfds:cityscapes", "val", root=tmp_path)
    assert len(source.classes) == 19 and (source.classes[0], source.classes[18]) == ("road", "bicycle")
    train_ids = np.full(34, 255)
    train_ids[[7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]] = np.arange(19)
    for index, sample in zip(numbers(source), source):
        np.testing.assert_array_equal(sample["label"], train_ids[values(index, range(34))])
    check_source(open_source("tfds:cityscapes/semantic_segmentation:1.0.0", "train", root=tmp_path))
    prepare(tmp_path, "cityscapes", features, example, ("train",), config="other")
    with pytest.raises(ValueError, match="choose one of tfds:cityscapes/other, tfds:cityscapes/semantic_segmentation"):
        open_source("tfds:cityscapes", "train", root=tmp_path)


def test_features_of_other_sets_are_guessed(tmp_path):
    named = {
        "photo": tfds.features.Image(),
        "parts": tfds.features.LabeledImage(labels=["a", "b", "c"], shape=(None, None, 1)),
    }
    prepare(tmp_path, "named", named, lambda i: {"photo": encode(image(i)), "parts": encode(values(i, [0, 1, 2, 255]))})
    source = open_source("tfds:named", "train", root=tmp_path)
    assert source.classes == ("a", "b", "c")
    np.testing.assert_array_equal(source[0]["label"], values(numbers(source)[0], [0, 1, 2, 255]))

    gray = {"image": tfds.features.Image(shape=(None, None, 1)), "mask": tfds.features.Image(shape=(None, None, 1))}
    prepare(tmp_path, "gray", gray, lambda i: {"image": encode(image(i, 1)), "mask": encode(values(i, [0, 4, 255]))})
    source = open_source("tfds:gray", "train", root=tmp_path)
    assert source.classes == ("class_0", "class_1", "class_2", "class_3", "class_4")
    assert source[0]["image"].shape == (*SIZE, 1)
    np.testing.assert_array_equal(source[0]["label"], values(numbers(source)[0], [0, 4, 255]))

    two = {**gray, "depth": tfds.features.Image(shape=(None, None, 1))}
    prepare(tmp_path, "two", two, lambda i: {key: encode(image(i, 1)) for key in two})
    with pytest.raises(ValueError, match=r"cannot tell the image and the mask of two among .* depth, image, mask;"):
        open_source("tfds:two", "train", root=tmp_path)


def test_tfrecord_files_are_read_too(pets, tmp_path):
    """The same records in TFRecord files of two shards, written by tensorboardX."""
    old = pets / "oxford_iiit_pet" / "4.0.0"
    new = tmp_path / "oxford_iiit_pet" / "4.0.0"
    new.mkdir(parents=True)
    for path in old.glob("*.*"):
        if "array_record" not in path.name:
            (new / path.name).write_bytes(path.read_bytes())
    info = json.loads((old / "dataset_info.json").read_text())
    assert info["fileFormat"] == "array_record"
    info["fileFormat"] = "tfrecord"
    source = TfdsSource(old, "train")
    for split in info["splits"]:
        split["shardLengths"] = ["3", "1"]
        split["filepathTemplate"] = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    for shard, rows in enumerate(([0, 1, 2], [3])):
        for split in ("train", "test"):
            writer = RecordWriter(str(new / f"oxford_iiit_pet-{split}.tfrecord-{shard:05d}-of-00002"))
            for row in rows:
                writer.write(source._records[row])
            writer.close()
    (new / "dataset_info.json").write_text(json.dumps(info))
    copy = open_source("tfds:oxford_iiit_pet", "train", root=tmp_path)
    assert len(copy) == 4
    for mine, theirs in zip(copy, source):
        np.testing.assert_array_equal(mine["image"], theirs["image"])
        np.testing.assert_array_equal(mine["label"], theirs["label"])
        assert mine["name"] == theirs["name"]
    shard = new / "oxford_iiit_pet-train.tfrecord-00001-of-00002"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"train\.tfrecord-00001-of-00002: cut short"):
        open_source("tfds:oxford_iiit_pet", "train", root=tmp_path)


def test_masks_out_of_range_are_named(tmp_path):
    prepare(tmp_path, "oxford_iiit_pet", PETS, lambda i: pet(i) | {"segmentation_mask": encode(values(i, [0, 1, 2, 3]))})
    source = open_source("tfds:oxford_iiit_pet", "train", root=tmp_path)
    with pytest.raises(ValueError, match=r"train sample 0 \(Abyssinian_\d.jpg\): mask value 0 is out of range.*1\.\.3"):
        check_source(source)


def test_missing_sets_say_how_to_prepare_them(pets, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"'oxford_iiit_pet' is not prepared in .*`tfds build oxford_iiit_pet -"):
        open_source("tfds:oxford_iiit_pet", "train")
    with pytest.raises(FileNotFoundError, match="is not prepared"):
        open_source("tfds:oxford_iiit_pet:9.9.9", "train", root=pets)
    with pytest.raises(ValueError, match="unknown split of oxford_iiit_pet 'tset'; did you mean 'test'"):
        open_source("tfds:oxford_iiit_pet", "tset", root=pets)
    monkeypatch.setenv("TFDS_DATA_DIR", str(pets))
    assert len(open_source("tfds:oxford_iiit_pet", "test")) == 4
    assert len(open_source("tfds:oxford_iiit_pet", "test", root=pets / "oxford_iiit_pet" / "4.0.0")) == 4


def test_deep_images_are_scaled_by_the_range_of_the_split(tmp_path):
    deep = tfds.features.Image(shape=(*SIZE, 1), dtype=np.uint16, encoding_format="png")
    mask = tfds.features.Image(shape=(*SIZE, 1), encoding_format="png")
    stored = np.linspace(0, 4095, SIZE[0] * SIZE[1]).astype(np.uint16).reshape(SIZE)
    prepare(
        tmp_path, "deep", {"image": deep, "mask": mask}, lambda i: {"image": encode(stored), "mask": encode(values(i, [0, 1]))}
    )
    source = open_source("tfds:deep", "train", root=tmp_path)
    assert source.value_range == (0, 4095) and "stored values 0..4095" in source.remarks[0]
    np.testing.assert_array_equal(source[0]["image"][..., 0], np.rint(stored * (255 / 4095)))
    given = open_source("tfds:deep", "train[:1]", root=tmp_path, value_range=(0, 65535))
    assert given.value_range == (0, 65535) and given[0]["image"].max() == 16
