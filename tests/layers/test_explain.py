"""`fcn.kernels.explain` and `python -m experiments.explain`: which algorithm each layer takes, and why."""

import flax.linen as nn
import pytest

from experiments import explain as command
from fcn.kernels import Explanation, explain, use
from fcn.layers import Conv, ConvTranspose, Dense, UpsampledConv, attend, materialize, max_pool, resize_bilinear


class Small(nn.Module):
    """A layer of each kind."""

    @nn.compact
    def __call__(self, x):
        x = Conv(16, 3, 2, name="stem")(x)
        x = Conv(16, groups=16, name="depthwise")(x)
        x = Conv(16, groups=2, name="grouped")(x)
        x = UpsampledConv(8, name="upsampled")(x)
        x = Dense(4, name="dense")(x)
        return attend(*(x.reshape(1, -1, 1, 4),) * 3)


@pytest.fixture(autouse=True)
def _(usual_table):
    """Whatever was measured on this machine."""


def test_rows():
    """In the order of the layers; what a layer consists of stands under its own path."""
    rows = explain(Small(), (1, 64, 64, 3))
    assert [(row.path, row.operation, row.algorithm) for row in rows] == [
        ("stem", "convolution", "native"),
        ("depthwise", "convolution", "shift and add"),
        ("grouped", "convolution", "blocks"),
        ("grouped", "convolution", "native"),
        ("upsampled", "convolution", "phases"),
        ("upsampled", "convolution", "native"),
        ("dense", "pointwise", "exchanged"),
        ("", "attention", "heads apart"),
    ]
    shapes = (1, 64, 64, 3), (3, 3, 3, 16), (1, 32, 32, 16)
    assert rows[0] == Explanation("stem", "convolution", shapes, "native", "no other fits")
    assert rows[6].reason == "fewer features than channels, more than 16 positions for each feature"


class Functions(nn.Module):
    """What has no parameters."""

    @nn.compact
    def __call__(self, x):
        return resize_bilinear(materialize(max_pool(x)), (8, 9))


def test_functions():
    """Columns are resized before rows; what is kept as an array is told as on this machine."""
    rows = explain(Functions(), (1, 9, 8, 3))
    assert [(row.operation, row.algorithm) for row in rows] == [
        ("max", "slices"),
        ("materialize", "conditional"),
        ("resize", "product"),
        ("resize", "phases"),
    ]
    shapes = [line.partition("[")[0].split()[1:] for line in command.table(rows)][1:5]
    assert shapes == [["9x8", "2x2", "3->3"], ["4x4"], ["4x4->4x9"], ["4x9->8x9"]]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 9, 4), ["1x9 1x3 4->8", "9 2 8->8", "4 2 8->4", "8->9"]),
        (
            (1, 9, 8, 7, 4),
            [
                *("9x8x7 3x3x3 4->8", "8x7 3x3 12->8", "9x8x7 2x2x2 8->8", "4x4x3 2x2x2 8->4"),
                *("8x8x6->8x8x7", "8x8x7->9x8x7"),
            ],
        ),
    ],
)
def test_signals_and_volumes(shape, expected):
    class Steps(nn.Module):
        @nn.compact
        def __call__(self, x):
            y = ConvTranspose(4, name="up")(max_pool(Conv(8, name="conv")(x)))
            return resize_bilinear(y, x.shape[1:-1])

    rows = [row for row in explain(Steps(), shape) if row.operation in ("convolution", "max", "resize")]
    assert [command._shapes(row) for row in rows] == expected


def test_gradients():
    """That with respect to the images is of the layer's own shapes."""
    rows = explain(Conv(12, name="conv"), (2, 28, 28, 192), gradients=True)
    shapes = (2, 28, 28, 192), (3, 3, 192, 12), (2, 28, 28, 12)
    assert [(row.operation, row.shapes, row.algorithm) for row in rows] == [
        ("convolution", shapes, "kn2row"),
        ("input_gradient", shapes, "native"),
        ("kernel_gradient", shapes, "kn2row"),
    ]


def test_xla():
    with use("xla"):
        rows = explain(Small(), (1, 64, 64, 3))
    assert {(row.algorithm, row.reason) for row in rows} == {("native", "asked for by fcn.kernels.use or FCN_KERNELS")}


def test_command(capsys, monkeypatch):
    monkeypatch.setattr(command, "_network", lambda options: Small())
    command.main(command.Options("small", size=64, batch_size=1))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["layer", "operation", "shapes", "algorithm"]
    assert lines[1].split() == ["stem", "convolution", "64x64", "3x3", "3->16", "[1]", "native"]
    assert "[1] native: no other fits" in lines
    assert lines[8].split() == ["attention", "4096", "queries", "4096", "keys", "1x4", "[6]", "heads", "apart"]


def test_columns_are_as_wide_as_what_stands_in_them():
    """The end of a long path is kept, and nothing runs together."""
    shapes = (2, 224, 224, 3), (16, 16, 3, 768), (2, 14, 14, 768)
    queries = (2, 3136, 12, 64)
    path = "/".join(["encoder", *map(str, range(20)), "attention"])
    rows = [
        Explanation("patches", "convolution", shapes, "native", "why"),
        Explanation(path, "attention", (queries, (2, 49, 12, 64), queries), "heads apart", "so"),
    ]
    assert list(command.table(rows)) == [
        "layer                     operation   shapes                     algorithm",
        "patches                   convolution 224x224 16x16 3->768       [1] native",
        "…15/16/17/18/19/attention attention   3136 queries 49 keys 12x64 [2] heads apart",
        "[1] native: why",
        "[2] heads apart: so",
    ]


def test_a_name_that_is_none():
    with pytest.raises(ValueError, match=r"unknown model or encoder 'resnet19'; did you mean 'resnet18'\?"):
        command.main(command.Options("resnet19"))
    with pytest.raises(ValueError, match="resnet18 is an encoder itself; leave --encoder resnet34 out"):
        command.main(command.Options("resnet18", encoder="resnet34"))
