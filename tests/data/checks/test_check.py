"""Sources of one's own are held to types, shapes and ranges before anything is computed with them."""

import numpy as np
import pytest

from fcn.data import Prepared, check_source, without_faults
from fcn.data.source import image_size, verify

IMAGE, LABEL = np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), np.int32)


class Own:
    """One sample of arrays, as somebody else's class would give them."""

    name, classes, palette, ignore_index = "own", ("a", "b"), np.zeros((2, 3), np.uint8), 255

    def __init__(self, image=IMAGE, label=LABEL, length=1):
        self.image, self.label, self.length = image, label, length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return {"image": self.image, "label": self.label, "name": f"own {index}"}


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ({"image": np.linspace(0, 5000, 60, dtype=np.float32).reshape(4, 5, 3)}, r"own 0: .*float32 \(0\.\.5000\); .* uint8"),
        ({"image": np.full((4, 5, 3), np.nan, np.float32)}, "own 0: .*float32.*NaN"),
        ({"image": np.full((4, 5, 3), 300, np.uint16)}, r"own 0: .*uint16 \(300\.\.300\)"),
        ({"image": IMAGE.astype(np.int16) - 1}, r"own 0: .*int16 \(-1\.\.-1\)"),
        ({"image": IMAGE[..., 0]}, r"own 0: an image of shape \(4, 5\)"),
        ({"image": IMAGE[:0]}, r"own 0: an image of shape \(0, 5, 3\)"),
        ({"label": LABEL.astype(np.float32)}, "own 0: a label of type float32"),
        ({"label": LABEL[..., None]}, r"own 0: a label .*shape \(4, 5, 1\)"),
    ],
)
def test_other_types_and_shapes_are_refused_wherever_they_enter(sample, message):
    for use in (check_source, Prepared):
        with pytest.raises(ValueError, match=message):
            use(Own(**sample))


@pytest.mark.parametrize("value", [-1, 2, 2**31 - 1])
def test_labels_out_of_range_are_named(value):
    label = LABEL.copy()
    label[1, 1] = value
    with pytest.raises(ValueError, match=rf"own 0: label value {value} is out of range: classes are 0\.\.1"):
        check_source(Own(label=label))


def test_unsigned_labels_pass_and_nothing_to_check_is_refused():
    check_source(Own(label=LABEL.astype(np.uint8)))
    with pytest.raises(ValueError, match="own has no samples"):
        check_source(Own(length=0))
    with pytest.raises(ValueError, match="samples is -1"):
        check_source(Own(), samples=-1)


def test_labels_of_0_and_255_alone_are_refused_where_255_is_ignored():
    label = LABEL.copy()
    label[1, 1] = 255
    with pytest.raises(ValueError, match=r"own 0: the labels of own hold only 0 and 255.*classes\.csv"):
        check_source(Own(label=label))


class Several(Own):
    """Samples of which some cannot be read, and others not be used."""

    def __init__(self, samples):
        super().__init__(length=len(samples))
        self.samples = samples

    def __getitem__(self, index):
        sample = self.samples[index]
        if isinstance(sample, Exception):
            raise sample
        image, label = sample
        return {"image": image, "label": label, "name": f"own {index}"}


def several():
    torn = [ValueError(f"/a/torn{i}.png: not an image of {i} bytes") for i in range(5)]
    wide, beyond = (np.zeros((4, 9, 3), np.uint8), np.zeros((4, 9), int)), (IMAGE, LABEL + 7)
    return Several([(IMAGE, LABEL), *torn, (IMAGE, LABEL + 1), beyond, FileNotFoundError("image /a/x.png has no label"), wide])


def test_all_that_is_wrong_is_told_at_once_the_first_of_each_kind():
    with pytest.raises(ValueError, match="own cannot be used as it is") as told:
        check_source(several())
    assert str(told.value).splitlines() == [
        "own cannot be used as it is:",
        *(f"  /a/torn{i}.png: not an image of {i} bytes" for i in range(3)),
        "  and 2 more of this kind",
        "  own 7: label value 7 is out of range: classes are 0..1, ignored pixels 255",
        "  image /a/x.png has no label",
        "  own 9: 4x9 (height x width), but own 0 is 4x5; set a size (height, width), to which all are resized, "
        "or a crop, which training cuts from each",
        "mend these files, or leave them out by skip_bad",
    ]


def test_what_cannot_be_used_is_left_out_where_it_is_asked_for():
    source = without_faults(several(), mixed=True)
    assert [sample["name"] for sample in source] == ["own 0", "own 6", "own 9"]
    assert [verify(source, i)["image_size"] for i in range(3)] == [(4, 5), (4, 5), (4, 9)]
    assert image_size(source, 2) == (4, 9) and source.left_out == (1, 2, 3, 4, 5, 7, 8)
    (remark,) = source.remarks
    assert remark.startswith("7 of 10 samples are left out:\n  /a/torn0.png: ") and remark.count("\n") == 6
    with pytest.raises(ValueError, match="own 9: 4x9"):  # which is no fault of a sample
        without_faults(several())
    with pytest.raises(ValueError, match=r"torn0\.png: "):
        without_faults(Several(several().samples[1:6]))
    whole = Own(length=2)
    assert without_faults(whole) is whole


@pytest.mark.parametrize(("several", "cure"), [((1, 3), "set channels to 3 "), ((5, 7), "give images of one number of")])
def test_what_to_do_about_several_numbers_of_channels(several, cure):
    images = [np.zeros((4, 5, channels), np.uint8) for channels in several]
    with pytest.raises(ValueError, match=f"{several[1]} channels, but own 0 has {several[0]}; {cure}"):
        check_source(Several([(image, LABEL) for image in images]))


def test_maps_of_objects_are_no_classes():
    """Labels that count 1, 2, 3 ..., each to another number, where nothing names the classes."""
    labels = [np.minimum(np.arange(20).reshape(4, 5), most) for most in (15, 19)]
    source = Several([(IMAGE, label) for label in labels])
    source.classes = tuple(f"class_{i}" for i in range(20))
    with pytest.raises(ValueError, match=r"own 0: .*maps of objects \(up to 19 in an image\); put them into instances/"):
        check_source(source)
    source.classes = tuple(f"kind {i}" for i in range(20))
    check_source(source)
