"""Models by name: lists, errors, and what `import fcn` loads."""

import subprocess
import sys

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

import fcn
from fcn.registry import CLASSIFIERS, ENCODERS, MODELS, _count


def test_lists():
    assert fcn.list_models() == sorted(MODELS)
    assert fcn.list_models("fcn*s") == ["fcn16s", "fcn32s", "fcn8s"]
    assert fcn.list_encoders("vgg1[13]_bn") == ["vgg11_bn", "vgg13_bn"]
    assert fcn.list_models("none*") == []


@pytest.mark.parametrize("table", [MODELS, ENCODERS, CLASSIFIERS])
def test_entries_are_complete(table):
    for entry in table.values():
        assert entry.paper and entry.reference and callable(entry.constructor)


def test_every_name_builds():
    assert all(isinstance(fcn.create_model(name, num_classes=3), nn.Module) for name in fcn.list_models())
    assert all(isinstance(fcn.create_encoder(name), nn.Module) for name in fcn.list_encoders())
    assert all(isinstance(fcn.create_classifier(name), nn.Module) for name in CLASSIFIERS)


def test_options_reach_the_model():
    model = fcn.create_model("fcn8s", num_classes=np.int64(5), encoder="vgg11_bn", at_once=True, dtype=jnp.bfloat16)
    assert (model.num_classes, model.encoder, model.at_once, model.dtype) == (5, "vgg11_bn", True, jnp.bfloat16)
    assert fcn.create_model("fcn8s", num_classes=5).encoder == "vgg16"
    assert fcn.create_classifier("vgg13_bn").num_classes == 1000


@pytest.mark.parametrize(
    ("create", "message"),
    [
        (lambda: fcn.create_model("unt", num_classes=2), "unknown model 'unt'; did you mean 'unet'?"),
        (
            lambda: fcn.create_model("xyz", num_classes=2),
            f"unknown model 'xyz'; choose one of {', '.join(fcn.list_models())}",
        ),
        (lambda: fcn.create_model("resnet18", num_classes=2), "'resnet18' is an encoder, not a model; give it to one"),
        (
            lambda: fcn.create_encoder("resnext101"),
            "unknown encoder 'resnext101'; did you mean 'resnext101_32x4d' or 'resnext101_32x8d'?",
        ),
        (
            lambda: fcn.create_encoder("swin_tiny_patch4_window7_224"),
            "unknown encoder 'swin_tiny_patch4_window7_224'; did you mean 'swin_tiny'?",
        ),
        (
            lambda: fcn.create_model("fpn", num_classes=2, encoder_name="resnet18"),
            "model 'fpn' has no option 'encoder_name'; the encoder is",
        ),
        (lambda: fcn.create_model("fpn", num_classes=2, in_channels=4), "model 'fpn' has no option 'in_channels'; it takes"),
        (lambda: fcn.create_encoder("vgg18"), "unknown encoder 'vgg18'; did you mean 'vgg19'?"),
        (lambda: fcn.create_classifier("vgg_16"), "unknown classifier 'vgg_16'; did you mean 'vgg16'?"),
        (lambda: fcn.create_model("fcn8s", num_classes=2, encoder="vg16"), "unknown encoder 'vg16'; did you mean 'vgg16'?"),
        (
            lambda: fcn.create_model("unet2015", num_classes=2, encoder="vgg16"),
            "model 'unet2015' takes no encoder, but encoder='vgg16' was given; leave it out",
        ),
        (
            lambda: fcn.create_model("unet", num_classes=2, base_features="wide"),
            "option base_features of model 'unet' is 'wide'; it must be int",
        ),
        (
            lambda: fcn.create_model("unet", num_classes=2, base_feature=8),
            "unknown option of model 'unet': 'base_feature'; did you mean 'base_features'?",
        ),
        (
            lambda: fcn.create_model("unet", num_classes=2, encoder="vgg16", decoder_channel=(8,)),
            "unknown option of model 'unet': 'decoder_channel'; did you mean 'decoder_channels'?",
        ),
        (
            lambda: fcn.create_encoder("vgg16", convolution=1),
            "unknown option of encoder 'vgg16': 'convolution'; choose one of",
        ),
        (lambda: fcn.create_model("unet", num_classes=0), "num_classes must be an integer of at least 1, not 0"),
        (lambda: _count(2.0), "num_classes must be an integer of at least 1, not 2.0"),
        (lambda: fcn.create_classifier("vgg16", num_classes=True), "num_classes must be an integer of at least 1, not True"),
    ],
)
def test_errors_name_the_nearest_choice(create, message):
    with pytest.raises(ValueError) as error:
        create()
    assert str(error.value).startswith(message)


def test_import_is_light():
    """All names of `fcn` together load none of what only training, data or conversion need."""
    heavy = ["tensorflow", "tensorflow_datasets", "grain", "orbax", "tyro", "matplotlib", "torch", "PIL", "tensorboardX"]
    assert _run(f"import sys; from fcn import *; print([name for name in {heavy} if name in sys.modules])") == "[]\n"


def test_names_are_loaded_when_they_are_used():
    """`import fcn` alone loads no network; subpackages are there without being imported by name."""
    assert _run("import sys, fcn; print([name for name in sys.modules if name.startswith(('fcn.', 'flax'))])") == "[]\n"
    assert _run("import fcn; print(fcn.layers.Conv.__name__, fcn.registry.create_model is fcn.create_model)") == "Conv True\n"
    assert set(fcn.__all__) <= set(dir(fcn))
    with pytest.raises(AttributeError, match="module 'fcn' has no attribute 'create_modle'"):
        _ = fcn.create_modle
    assert not hasattr(fcn, "_hidden")


def _run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_public_names_exist():
    assert all(hasattr(fcn, name) for name in fcn.__all__)


def test_lists_and_mappings_leave_a_model_comparable():
    def build():
        return fcn.create_model("unet", num_classes=2, encoder="resnet18", decoder_channels=[8] * 5, aux_params={"classes": 3})

    assert build() == build() and hash(build()) == hash(build())
    assert build().decoder_channels == (8,) * 5 and build().aux_params["classes"] == 3
