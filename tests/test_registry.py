"""Models by name: lists, errors, and what `import fcn` loads."""

import re
import subprocess
import sys
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fcn
from fcn.encoders.entry import Encoder
from fcn.encoders.table import find_encoder
from fcn.models.espnet import ESPNet
from fcn.models.lraspp import LRASPP
from fcn.registry import CLASSIFIERS, ENCODERS, MODELS, _count, entry_of, segments
from tests.models.test_with_encoder import Tiny


def test_lists():
    assert fcn.list_models() == sorted(MODELS)
    assert fcn.list_models("fcn*s") == ["fcn16s", "fcn32s", "fcn8s"]
    assert fcn.list_encoders("vgg1[13]_bn") == ["vgg11_bn", "vgg13_bn"]
    assert fcn.list_models("none*") == []


@pytest.mark.parametrize("table", [MODELS, ENCODERS, CLASSIFIERS])
def test_entries_are_complete(table):
    for entry in table.values():
        assert entry.paper and entry.reference and callable(entry.constructor)


def test_what_segments():
    assert all(segments(fcn.create_model(name, num_classes=3)) for name in fcn.list_models())
    assert segments(fcn.create_model("unet", num_classes=3, encoder="resnet18"))
    assert not segments(fcn.create_encoder("vgg11")) and not segments(fcn.create_classifier("vgg11"))


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
        (
            lambda: fcn.create_encoder("timm-efficientnet-b0"),
            "unknown encoder 'timm-efficientnet-b0'; timm's EfficientNets pad and name their layers otherwise",
        ),
        (
            lambda: fcn.create_model("fpn", num_classes=2, encoder="tu-efficientnet_b0"),
            "unknown encoder 'tu-efficientnet_b0'; timm",
        ),
        (lambda: find_encoder(3), "encoder is 3; give one of list_encoders()"),
        (lambda: find_encoder(fcn.create_encoder("vgg11")), "encoder is VGG"),
        (lambda: fcn.create_model("unet"), "give the number of classes: create_model('unet', num_classes=...)"),
        (lambda: fcn.create_model("unet", classes=3), "give the number of classes: create_model('unet', num_classes=3)"),
        (lambda: fcn.create_model("unet", num_classes=0), "num_classes must be an integer of at least 1, not 0"),
        (lambda: _count(2.0), "num_classes must be an integer of at least 1, not 2.0"),
        (lambda: fcn.create_classifier("vgg16", num_classes=True), "num_classes must be an integer of at least 1, not True"),
    ],
)
def test_errors_name_the_nearest_choice(create, message):
    with pytest.raises(ValueError) as error:
        create()
    assert str(error.value).startswith(message)


RATE = "it must be at least 0 and below 1"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("unet", {"stem_stride": -2}, "option stem_stride of model 'unet' is -2; it must be at least 1 and at most 64"),
        ("unet", {"dropout_rate": 2}, f"option dropout_rate of model 'unet' is 2; {RATE}"),
        ("unet", {"dropout_rate": float("nan")}, "option dropout_rate of model 'unet' is nan; it must be a finite number"),
        ("unet", {"depth": 0}, "option depth of model 'unet' is 0; it must be at least 1 and at most 10"),
        ("unet", {"depth": 10**6}, "option depth of model 'unet' is 1000000; it must be at least 1 and at most 10"),
        ("unet", {"depth": True}, "option depth of model 'unet' is True; it must be int"),
        ("unet", {"base_features": 0}, "option base_features of model 'unet' is 0; it must be above 0 and at most 65536"),
        ("unet", {"max_features": "many"}, "option max_features of model 'unet' is 'many'; it must be int | None"),
        ("unet", {"dtype": jnp.int32}, "it must be a floating-point type, such as jnp.float32 or jnp.bfloat16"),
        ("unet", {"dtype": "float33"}, "option dtype of model 'unet' is 'float33'; it must be a floating-point type"),
        ("unet", {"dtype": jnp.float64}, "for float64 call jax.config.update('jax_enable_x64', True) first"),
        ("unet", {"param_dtype": None}, "option param_dtype of model 'unet' is None; it must be a floating-point type"),
        ("unet", {"encoder": "resnet18", "decoder_channels": [8, 8, 0]}, "is (8, 8, 0); it must be above 0 and at most 65536"),
        ("unet", {"encoder": "resnet18", "decoder_channels": [8] * 65}, "it must be a list of at most 64"),
        ("unet", {"encoder": "resnet18", "decoder_channels": [8, 4.5]}, "is (8, 4.5); it must be tuple[int, ...]"),
        ("fpn", {"aux_params": {1: 2}}, "has the key 1; keys are text"),
        ("fpn", {"aux_params": {"classes": 2, "more": [{2: 1}]}}, "has the key 2; keys are text"),
        ("fpn", {"aux_params": {"classes": 3, "dropout": 1}}, "it must be at least 0 and below 1 in dropout"),
        ("fc_densenet56", {"layers": [10**9] * 11}, "option layers of model 'fc_densenet56' is (1000000000"),
        ("segresnet", {"blocks_up": (1, 257, 1)}, "is (1, 257, 1); it must be at least 1 and at most 256"),
        ("plain_conv_unet", {"n_conv_per_stage_decoder": 0}, "is 0; it must be at least 1 and at most 256"),
        ("residual_encoder_unet", {"n_blocks_per_stage": 10**4}, "is 10000; it must be at least 1 and at most 256"),
        ("residual_unet", {"num_res_units": 300}, "is 300; it must be at least 1 and at most 256"),
        ("deeplabv3_resnet50", {"aux_dropout": -0.1}, f"option aux_dropout of model 'deeplabv3_resnet50' is -0.1; {RATE}"),
        ("fcn8s", {"width_multiplier": 0.0}, "option width_multiplier of model 'fcn8s' is 0.0; it must be above 0"),
    ],
)
def test_options_that_are_out_of_range(name, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        fcn.create_model(name, num_classes=2, **options)


def test_options_of_other_types():
    """NumPy's numbers, names of types, the values of JSON, and float64 where JAX computes in it."""
    model = fcn.create_model("unet", num_classes=2, depth=np.int32(2), dropout_rate=np.float32(0.5), dtype="bfloat16")
    assert (model.depth, model.dropout_rate, model.dtype) == (2, 0.5, "bfloat16")
    assert type(model.depth) is int and type(model.dropout_rate) is float
    fcn.create_model("fcn8s", num_classes=2, input_padding=0)
    fcn.create_encoder("vgg11", input_padding=((0, 1), (2, 3)))
    with jax.enable_x64(True):
        assert fcn.create_encoder("resnet18", dtype=jnp.float64).dtype == jnp.float64


def test_names_are_loaded_when_they_are_used():
    """`import fcn` alone loads no network, all its names no reader of images; subpackages are there without being imported."""
    code = "import sys, fcn; print([name for name in sys.modules if name.startswith(('fcn.', 'flax'))])"
    code += "; print(fcn.layers.Conv.__name__, fcn.registry.create_model is fcn.create_model)"
    code += "; from fcn import *; print([name for name in ('PIL', 'tensorboardX') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\nConv True\n[]\n"
    assert set(fcn.__all__) <= set(dir(fcn))
    with pytest.raises(AttributeError, match="module 'fcn' has no attribute 'create_modle'"):
        _ = fcn.create_modle
    assert not hasattr(fcn, "_hidden")


def test_public_names_exist():
    assert all(hasattr(fcn, name) for name in fcn.__all__)


def test_lists_and_mappings_leave_a_model_comparable():
    def build():
        aux = {"classes": 3, "more": [1, {"deep": [2]}]}
        return fcn.create_model("unet", num_classes=2, encoder="resnet18", decoder_channels=[8] * 5, aux_params=aux)

    assert build() == build() and hash(build()) == hash(build())
    assert build().decoder_channels == (8,) * 5 and build().aux_params["classes"] == 3


@pytest.fixture
def own_names(monkeypatch):
    """Tables whose new names are forgotten afterwards."""
    for table in (MODELS, ENCODERS):
        for name in ("mine", "other"):
            monkeypatch.setitem(table, name, None)
            del table[name]


def test_models_and_encoders_of_ones_own(own_names):
    row = fcn.register_encoder("mine", Tiny, strides=[2, 4, 8], channels=(4, 5, 6), std=(1, 1, 1))
    assert ENCODERS["mine"] is row and row.preprocessing.std == (1, 1, 1) and row.map_strides(2) == (2, 4)
    assert isinstance(fcn.create_encoder("mine", output_stride=4), Tiny) and fcn.list_encoders("min*") == ["mine"]
    bound = fcn.create_model("lraspp", num_classes=3, encoder="mine", encoder_output_stride=8).bind({})
    assert isinstance(bound.encoder, Tiny) and (bound.encoder.output_stride, bound.encoder.name) == (8, "backbone")

    class Own(LRASPP):
        pass

    row = fcn.register_model("mine", Own, paper="ours", mean=(0, 0, 0))
    model = fcn.create_model("mine", num_classes=3, encoder="mine")
    assert entry_of(model) is row and model == Own(3, "mine") and row.preprocessing.mean == (0, 0, 0)
    of_espnet = fcn.register_model("other", partial(ESPNet, p=1))
    assert of_espnet.preprocessing == MODELS["espnet"].preprocessing


@pytest.mark.parametrize(
    ("register", "message"),
    [
        (lambda: fcn.register_encoder("resnet18", Tiny), "there is encoder 'resnet18' already; choose another name"),
        (lambda: fcn.register_model("unet", LRASPP), "there is model 'unet' already; choose another name"),
        (lambda: fcn.register_model("", LRASPP), "the name of model is ''; it must be a text"),
        (
            lambda: fcn.register_model("mine", partial(LRASPP, features=8), std=(1, 1, 1)),
            "std (1, 1, 1) are not those of the other models of LRASPP, (0.485, 0.456, 0.406) and (0.229, 0.224, 0.225); leave",
        ),
        (lambda: fcn.register_model("mine", Tiny), "a model has the field num_classes, which Tiny has not"),
        (lambda: fcn.register_encoder("mine", nn.Dense), "Dense lacks depth, output_stride, axis_name"),
        (
            lambda: fcn.register_encoder("mine", Tiny, strides=(4, 2)),
            "strides of an encoder are (4, 2); give powers",
        ),
        (
            lambda: fcn.create_model("fpn", num_classes=2, encoder=Encoder(nn.Dense)),
            "an encoder has the fields depth, output_stride, dtype, param_dtype, axis_name; Dense lacks depth",
        ),
    ],
)
def test_what_cannot_be_registered(own_names, register, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        register()


def test_an_encoder_given_as_a_row_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="given as a row cannot be saved; give it by name"):
        fcn.save(tmp_path / "saved", LRASPP(2, Encoder(Tiny, strides=(2, 4, 8))), {})
