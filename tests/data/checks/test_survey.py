"""A folder seen through: what is counted, and everything that is wrong with it, at once."""

import re

import numpy as np
import pytest
from PIL import Image

from experiments.reports.inspection import lines, summary
from fcn.data.checks.findings import findings
from fcn.data.checks.survey import survey

SIZE = (6, 8)
TABLE = "id,name,r,g,b\n0,ground,10,0,0\n1,tree,20,0,0\n2,sky,30,0,0\n9,void,0,0,0\n"


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path)


def photo(seed, size=SIZE, channels=3):
    values = np.random.default_rng(seed).integers(0, 256, (*size, channels))
    return values[..., 0] if channels == 1 else values


def label(size=SIZE):
    """A row of each class and three rows that are ignored."""
    stored = np.full(size, 9, np.uint8)
    stored[:3] = np.arange(3)[:, None]
    return stored


@pytest.fixture
def sound(tmp_path):
    """Two images for training, one for validation, one for tests, which has no label."""
    for number, name in enumerate(("train/a", "train/b", "val/c", "test/d")):
        save(tmp_path / "images" / f"{name}.png", photo(number))
        if name != "test/d":
            save(tmp_path / "labels" / f"{name}.png", label())
    (tmp_path / "classes.csv").write_text(TABLE)
    return tmp_path


def test_numbers_of_a_sound_folder(sound):
    save(sound / "instances" / "train" / "a.png", np.arange(48).reshape(SIZE))
    seen = survey(sound, lambda records, total: records if total == 4 else [])
    assert findings(seen) == []
    values = summary(seen, [])
    pixels = np.concatenate([photo(0), photo(1)]).reshape(-1, 3)
    np.testing.assert_allclose(values["channels"]["mean"], pixels.mean(0))
    np.testing.assert_allclose(values["channels"]["std"], pixels.std(0))
    assert values["splits"]["train"]["class_shares"] == {name: pytest.approx(1 / 3) for name in ("ground", "tree", "sky")}
    assert values["splits"]["train"] | {"class_shares": 0} == {
        "images": 2, "labels": 2, "sizes": {"6x8": 2}, "class_shares": 0, "ignored_share": 0.5
    }  # fmt: skip
    assert values["splits"]["test"]["labels"] == 0 and values["splits"]["test"]["ignored_share"] is None
    assert values["types"] == {"PNG RGB, 8 bits": 4} and values["layout"] == "images/ and labels/"
    assert values["objects"] == {"total": 47, "min": 47, "median": 47, "max": 47}
    np.testing.assert_allclose(values["suggestions"]["class_weights"]["enet"], 1 / np.log(1.02 + 1 / 3), rtol=1e-6)
    assert values["suggestions"]["crop"] == [32, 32] and not values["refused"]
    assert_many_absent_classes_take_a_line(values)


def assert_many_absent_classes_take_a_line(values):
    for count, shown in ((10, 10), (11, 0)):
        names = [f"never {i}" for i in range(count)]
        splits = {
            name: split | {"class_shares": split["class_shares"] | dict.fromkeys(names, 0.0) if split["class_shares"] else {}}
            for name, split in values["splits"].items()
        }
        weights = {"enet": values["suggestions"]["class_weights"]["enet"] + [50.0] * count}
        many = {"classes": values["classes"] + names, "splits": splits}
        said = list(lines(values | many | {"suggestions": values["suggestions"] | {"class_weights": weights}}))
        assert sum(line.startswith("never") for line in said) == shown
        assert ("and 11 classes without a pixel" in said) == (shown == 0)


def rewrite(change):
    def spoil(root):
        for path in (root / "labels").rglob("*.png"):
            save(path, change(np.asarray(Image.open(path))))

    return spoil


def colours(strange):
    """Labels in the colours of the table, but for one pixel."""
    table = np.array([[10, 0, 0], [20, 0, 0], [30, 0, 0], *[[0, 0, 0]] * 7])

    def change(stored):
        coloured = table[stored]
        coloured[0, 0] = strange
        return coloured

    return change


def copy(source, target):
    return lambda root: save(root / target, np.asarray(Image.open(root / source)))


def to_array(name, channels):
    def spoil(root):
        (root / "images" / f"{name}.png").unlink()
        np.save(root / "images" / f"{name}.npy", np.zeros((*SIZE, channels), np.uint8))

    return spoil


def halved(name):
    def spoil(root):
        save(root / "images" / f"{name}.png", photo(9)[:3])
        save(root / "labels" / f"{name}.png", label()[:3])

    return spoil


FAULTS = [
    ("cannot be used", True, "a.png: not an image", lambda r: (r / "images/train/a.png").write_text("?")),
    ("cannot be used", True, "a.png: not an image", lambda r: (r / "labels/train/a.png").write_text("?")),
    ("cannot be used", True, "image is 6x8 .* its label 6x9", lambda r: save(r / "labels/val/c.png", label((6, 9)))),
    ("cannot be used", False, "d.png: not an image", lambda r: (r / "images/test/d.png").write_text("?")),
    (
        "off by one",
        True,
        "labels run from 1 to 3, .*: subtract 1",
        rewrite(lambda stored: np.where(stored == 9, 9, stored + 1)),
    ),
    ("all ignored", True, "every pixel of all 2 labels of 'train'", rewrite(lambda stored: np.full_like(stored, 9))),
    ("no label", True, "1 images of the split 'train' have no label", lambda r: (r / "labels/train/b.png").unlink()),
    ("no labels", True, "no image of the split 'val' has a label", lambda r: (r / "labels/val/c.png").unlink()),
    ("no split", True, "no split 'val', but train, test", lambda r: (r / "images/val/c.png").unlink()),
    (
        "gray and colour",
        False,
        "1 images are gray, 2 are in colour; all are read as RGB",
        lambda r: save(r / "images/train/a.png", photo(0, channels=1)),
    ),
    ("mixed channels", True, "several numbers of channels: 2 of 3, 1 of 7 .*b.npy", to_array("train/b", 7)),
    ("mixed sizes", False, r"2 sizes: 6x8 \(1\), 3x8 \(1\); `train auto` takes crops", halved("train/b")),
    ("unknown colours", False, r"1 colours .* \(7, 8, 9\): 3 pixels", rewrite(colours((7, 8, 9)))),
    ("classes of one split", False, "in train and not in val: sky", lambda r: save(r / "labels/val/c.png", label() % 2)),
    ("classes of no pixel", False, "without a pixel in train and val: sky", rewrite(lambda stored: stored % 2)),
    (
        "in train and val",
        False,
        "1 images are in train and in val .*a.png = .*c.png",
        copy("images/train/a.png", "images/val/c.png"),
    ),
    ("twice", False, "1 images come more than once .*a.png = .*b.png", copy("images/train/a.png", "images/train/b.png")),
    ("blank images", False, "1 images are of one value", lambda r: save(r / "images/val/c.png", np.full((*SIZE, 3), 7))),
]


@pytest.mark.parametrize(("kind", "refused", "text", "spoil"), FAULTS)
def test_each_fault_is_told_with_its_files(sound, kind, refused, text, spoil):
    spoil(sound)
    found = {finding.kind: finding for finding in reversed(findings(survey(sound)))}  # the first of a kind
    assert found[kind].refused == refused
    assert re.search(text, " ".join([found[kind].text, *found[kind].files]))
    assert any(finding.refused for finding in found.values()) == refused


def test_all_that_is_wrong_is_told_at_once(sound):
    (sound / "images/train/a.png").write_text("?")
    save(sound / "labels/val/c.png", np.full(SIZE, 77))
    save(sound / "images/val/c.png", photo(5, (3, 3)))
    save(sound / "images/train/z.png", photo(9, (12, 8)))
    found = findings(survey(sound))
    assert [finding.kind for finding in found if finding.refused] == ["no label", "cannot be used"]
    assert "mixed sizes" in {finding.kind for finding in found}
    assert len(next(finding for finding in found if finding.kind == "cannot be used").files) == 2
    seen = survey(sound)
    assert "mixed sizes" not in {finding.kind for finding in findings(seen, resized=True)}
    left = [finding.kind for finding in findings(seen, skip_bad=True) if finding.refused]
    assert not left, "what cannot be used is left out"


def test_gray_and_colour_are_no_matter_where_channels_are_said(sound):
    save(sound / "images/train/a.png", photo(0, channels=1))
    seen = survey(sound)
    assert [any(f.kind == "gray and colour" for f in findings(seen, converted=said)) for said in (False, True)] == [True, False]


def test_the_verdict_is_that_of_training(sound):
    """A split may have another size than the other; images must have as many channels as are asked for."""
    halved("val/c")(sound)
    assert not any(finding.refused for finding in findings(survey(sound)))
    for channels, refused in ((1, False), (3, False), (4, True)):
        found = findings(survey(sound, channels=channels), converted=True)
        assert [one.kind for one in found if one.refused] == ["cannot be used"] * refused
    assert "a.png: 3 channels, but 4 are asked for; set channels to 3" in found[0].files[0]


def test_maps_of_objects_as_labels_are_recognised(tmp_path):
    for number, objects in enumerate((30, 20, 25)):
        save(tmp_path / "images" / f"{number}.png", photo(number))
        stored = np.zeros(48)
        stored[:objects] = np.arange(objects) + 1
        save(tmp_path / "labels" / f"{number}.png", stored.reshape(SIZE))
    (found,) = (one for one in findings(survey(tmp_path)) if one.kind == "objects as classes")
    assert "up to 30 in an image" in found.text and len(found.files) == 3


def test_nuclei_have_mixed_sizes_and_objects(shared_data, tmp_path):
    """The validation part: 37 images, 1175 nuclei."""
    for kind in ("images", "instances"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "val").symlink_to(shared_data / "dsb2018_nuclei" / kind / "val")
    seen = survey(tmp_path)
    values = summary(seen, findings(seen))
    assert values["splits"]["val"]["sizes"] == {"256x256": 25, "360x360": 8, "520x696": 4}
    assert sum(record.objects for record in seen.of("val")) == 1175
    assert values["suggestions"]["normalisation"].startswith("per image") and seen.classes == ("background", "object")
    assert [finding["kind"] for finding in values["findings"]] == ["no split", "mixed sizes"]


@pytest.mark.slow
def test_shares_of_camvid(shared_data, tmp_path):
    """Those of its README, per cent of the labelled pixels of the training split."""
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "train").symlink_to(shared_data / "camvid" / kind / "train")
    (tmp_path / "classes.csv").write_bytes((shared_data / "camvid" / "classes.csv").read_bytes())
    seen = survey(tmp_path)
    train = summary(seen, [])["splits"]["train"]
    shares = np.array(list(train["class_shares"].values()))
    expected = [0.175, 0.242, 0.010, 0.330, 0.047, 0.101, 0.012, 0.012, 0.061, 0.0067, 0.0030]
    np.testing.assert_allclose(shares, expected, atol=6e-4)
    assert train["ignored_share"] == pytest.approx(0.04, abs=6e-4)
