"""Decoders on encoders without a map of stride 2, as transformers are: smp gives an empty map there."""

from functools import partial

import pytest

import fcn
from fcn.encoders.resnet import RESNETS, ResNet
from fcn.encoders.table import ENCODERS
from tests.parity.encoders import smp
from tests.parity.models import CLASSES, ONE, assert_model_equal, assert_model_parameters_equal, shorten, smp_model

CHANNELS = {"decoder_channels": (32, 24, 16, 16, 16)}
MODELS = {
    "unet": ("Unet", CHANNELS),
    "unetplusplus": ("UnetPlusPlus", CHANNELS),
    "linknet": ("Linknet", {}),
    "manet": ("MAnet", CHANNELS),
}


class WithoutFirst(ResNet):
    """A ResNet of basic blocks that keeps its first map to itself."""

    def __call__(self, x, *, train=False):
        return super().__call__(x, train=train)[1:]


@pytest.fixture
def encoder(monkeypatch):
    name = "resnet18_without_first"
    row = RESNETS["resnet18"]
    row = row._replace(constructor=partial(WithoutFirst, ONE), channels=row.channels[1:], strides=row.strides[1:])
    monkeypatch.setitem(ENCODERS, name, row)
    theirs = dict(smp().encoders.encoders["resnet18"])
    theirs["params"] = theirs["params"] | {"out_channels": [3, 0, 64, 128, 256, 512], "layers": [*ONE]}

    class Reference(theirs["encoder"]):
        def forward(self, x):
            features = super().forward(x)
            empty = x.new_empty(len(x), 0, x.shape[2] // 2, x.shape[3] // 2)
            return [x, empty, *features[2:]]

    monkeypatch.setitem(smp().encoders.encoders, name, theirs | {"encoder": Reference})
    return name


@pytest.mark.parametrize("name", MODELS)
def test_logits(name, encoder):
    reference, options = MODELS[name]
    model = fcn.create_model(name, num_classes=CLASSES, encoder=encoder, **options)
    net = smp_model(reference, encoder_name=encoder, **options)
    assert_model_parameters_equal(model, net)
    assert_model_equal(model, net, sizes=[(65, 97) if name == "unet" else (64, 96)])


def test_attention(encoder):
    """The attention before the convolutions is applied, although nothing is concatenated."""
    create = partial(fcn.create_model, num_classes=CLASSES, encoder=encoder)
    for name in ("unet", "unetplusplus"):
        reference, options = MODELS[name]
        options = options | {"decoder_attention_type": "scse"}
        assert_model_equal(
            create(name, **options), smp_model(reference, encoder_name=encoder, **options), sizes=[(64, 64)], tame="attention"
        )


def test_fpn_needs_the_map(encoder):
    model = fcn.create_model("fpn", num_classes=CLASSES, encoder=encoder, encoder_depth=4)
    with pytest.raises(ValueError, match="has no map of stride 2, which an FPN takes; use encoder_depth=5"):
        assert_model_parameters_equal(model, smp_model("FPN", "meta", encoder_name="resnet18", encoder_depth=4))


@pytest.mark.parametrize("name", ["unet", "manet", "fpn", "pspnet"])
def test_mix_transformer(name, monkeypatch):
    """The real thing; smp refuses it in U-Net++ and LinkNet."""
    shorten(monkeypatch)
    reference, options = {**MODELS, "fpn": ("FPN", {}), "pspnet": ("PSPNet", {})}[name]
    net = smp_model(reference, encoder_name="mit_b0", **options)
    assert_model_equal(fcn.create_model(name, num_classes=CLASSES, encoder="mit_b0", **options), net, sizes=[(64, 96)])
