"""Sources of one's own are held to types, shapes and ranges before anything is computed with them."""

import numpy as np
import pytest

from fcn.data import Prepared, check_source

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
