"""What holds for every registered model (the public contract), on small ones."""

import inspect
from functools import cached_property, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

import fcn
from fcn.models.unet2015 import output_size
from fcn.registry import MODELS
from tests.variables import random_variables, shapes_of

NARROW = {"width_multiplier": 1 / 32, "fc_features": 8}
SHALLOW = {"encoder": "resnet18", "encoder_depth": 3}
SMALL = {
    "fcn32s": {**NARROW, "encoder": "vgg11"},
    "fcn16s": {**NARROW, "encoder": "vgg11", "input_padding": None},
    "fcn8s": {**NARROW, "encoder": "vgg11_bn"},
    "unet2015": {"base_features": 4, "depth": 2},
    "unet": {"base_features": 4, "depth": 3, "dropout_rate": 0.5},
    "unet with resnet18": {**SHALLOW, "decoder_channels": (8, 8, 8)},
    "unet with vgg11": {"encoder": "vgg11", "encoder_depth": 3, "decoder_channels": (8, 8, 8)},
    "attention_unet": {"base_features": 8, "depth": 2},
    "attention_unet common": {"base_features": 8, "depth": 2, "variant": "common"},
    "unetplusplus": {**SHALLOW, "decoder_channels": (8, 8, 8)},
    "linknet": SHALLOW,
    "manet": {**SHALLOW, "decoder_channels": (8, 8, 8), "decoder_pab_channels": 4},
    "fpn": {**SHALLOW, "decoder_pyramid_channels": 8, "decoder_segmentation_channels": 32},
    "pspnet": {**SHALLOW, "psp_out_channels": 8},
    "pan": {**SHALLOW, "decoder_channels": 8},
    "deeplabv3": {**SHALLOW, "decoder_channels": 8},
    "deeplabv3plus": {**SHALLOW, "decoder_channels": 8},
    "upernet": {**SHALLOW, "decoder_channels": 8},
    "segformer": {**SHALLOW, "decoder_segmentation_channels": 8},
    "dpt": {
        "encoder": "vit_small_patch16",
        "encoder_depth": 1,
        "encoder_output_indices": (0,),
        "decoder_intermediate_channels": (8,),
        "decoder_fusion_channels": 8,
    },
    "fcn": {"encoder": "resnet18", "aux": False},
    "deeplabv3_resnet50": {"aux": False},
    "lraspp": {"encoder": "resnet18", "features": 8},
    "deeplabv3_mobilenet_v2_tf": {
        "head_features": 8,
        "stages": ((1, 16, 1, 2), (3, 24, 1, 2), (3, 32, 1, 2), (3, 48, 2, 2)),
    },
    "espnet": {"p": 0, "q": 1},
    "espnet_c": {"p": 1, "q": 0},
    "segnet": {"encoder": "vgg11_bn", "width_multiplier": 1 / 16},
    "fc_densenet103": {"layers": (1, 2, 1), "growth_rate": 4, "stem_features": 6},
    "stardist_unet": {"base_features": 4, "depth": 2, "head_features": 8, "grid": 2},
    "cpnet": {"features": (4, 8, 8)},
    "meshnet": {"features": 4, "dilations": (1, 2)},
    "phasenet": {"base_features": 4, "depth": 2},
    "plain_conv_unet": {"features_per_stage": (4, 6, 8), "strides": (1, 2, (1, 2, 2)), "deep_supervision": False},
    "segresnet": {"init_filters": 4, "blocks_down": (1, 1), "blocks_up": (1,), "num_groups": 2, "dropout_rate": 0.5},
    "residual_unet": {"channels": (4, 6), "strides": (2,)},
    "residual_encoder_unet": {
        "features_per_stage": (4, 6),
        "kernel_sizes": ((1, 3), 3),
        "n_blocks_per_stage": (1, 2),
        "deep_supervision": False,
    },
}
OTHER_NUMBERS = {"fc_densenet56", "fc_densenet67"}
"""Names of `fc_densenet103` with other defaults, which a small one does not have."""
TAME = {"manet": ("decoder", "center"), "pan": ("decoder", "gau1", "conv1_1")}
"""Modules whose random parameters are scaled down, as large values saturate their softmax or sigmoid."""
ROUGH = {"segnet": 0.5}
"""Models whose logits may differ by more in bfloat16: of values that become equal, another is the largest, elsewhere."""
SIZES = {
    "unet2015": [(44, 44), (48, 60), (96, 64)],
    "meshnet": [(1, 1, 1), (5, 6, 7), (9, 8, 6)],
    "plain_conv_unet": [(1, 1, 1), (5, 6, 7), (9, 8, 6)],
    "segresnet": [(1, 1, 1), (5, 6, 7), (9, 8, 6)],
    "residual_unet": [(1, 1, 1), (5, 6, 7), (9, 8, 6)],
    "phasenet": [(1,), (47,), (97,)],
}
EAGER = ("fcn8s", "attention_unet", "manet", "deeplabv3plus", "dpt", "lraspp", "espnet", "segnet")
"""Models that have all kinds of layers; without `jit` each operation is compiled alone, which takes as long as the rest."""
CLASSES = 3


class Subject:
    """A model with random variables, and what several tests look at: programs are compiled once."""

    def __init__(self, name):
        self.name = name
        self.sizes = SIZES.get(name, [(1, 1), (33, 47), (97, 64)])
        self.model = self.create()
        variables = flatten_dict(random_variables(self.model, *self.images().shape))
        tame = ("params", *TAME.get(name, "-"))
        self.variables = unflatten_dict({p: 0.02 * leaf if p[: len(tame)] == tame else leaf for p, leaf in variables.items()})
        self.apply = jax.jit(self.model.apply)
        self.train = jax.jit(lambda v, x, key: self.model.apply(v, x, train=True, mutable=True, rngs={"dropout": key}))

    @cached_property
    def evaluate(self):
        """(params, images) -> gradients of a weighted sum of the logits, (the logits, what else changed)."""
        rest = {name: collection for name, collection in self.variables.items() if name != "params"}

        def loss(params, images):
            logits, new = self.model.apply({"params": params, **rest}, images, mutable=["batch_stats"])
            return jnp.vdot(logits, np.random.default_rng(1).normal(size=logits.shape)), (logits, new)

        return jax.jit(jax.grad(loss, has_aux=True))

    @cached_property
    def evaluated(self):
        return self.evaluate(self.variables["params"], self.images())

    @property
    def logits(self):
        return self.evaluated[1][0]

    @cached_property
    def trained(self):
        """Logits and all collections after a step of training on images of the largest size."""
        return self.train(self.variables, self.images(self.sizes[2]), jax.random.key(0))

    def create(self, **options):
        return fcn.create_model(self.name.split()[0], num_classes=CLASSES, **SMALL[self.name], **options)

    def images(self, size=None):
        return np.random.default_rng(0).normal(size=(2, *(size or self.sizes[1]), 3)).astype(np.float32)


def assert_logits(logits, subject, size):
    """float32, finite, and of the image's size (those of unet2015 of the size that its paper says)."""
    expected = [output_size(side, 2) for side in size] if subject.name == "unet2015" else size
    assert isinstance(logits, jax.Array) and logits.dtype == jnp.float32
    assert logits.shape == (2, *expected, CLASSES)
    assert np.all(np.isfinite(logits))


@pytest.fixture(scope="module", params=SMALL)
def subject(request):
    return Subject(request.param)


def test_every_model_is_here():
    ready = {name for name, row in MODELS.items() if isinstance(row.constructor, partial)}  # with an encoder of their own
    assert sorted({name.split()[0] for name in SMALL} | ready | OTHER_NUMBERS) == fcn.list_models()


def test_any_size(subject):
    """One of a pixel, an odd one; those of the largest are from training."""
    assert_logits(subject.apply(subject.variables, subject.images(subject.sizes[0])), subject, subject.sizes[0])
    assert_logits(subject.logits, subject, subject.sizes[1])
    assert_logits(subject.trained[0], subject, subject.sizes[2])


def test_jit_equals_eager(subject):
    if subject.name in EAGER:
        eager = subject.model.apply(subject.variables, subject.images())
        np.testing.assert_allclose(eager, subject.logits, rtol=0, atol=1e-5 * np.abs(subject.logits).max())


def test_images_of_a_batch_do_not_meet(subject):
    x = subject.images()
    logits = subject.logits
    changed = subject.evaluate(subject.variables["params"], np.stack([2 * x[0] + 1, x[1]]))[1][0]
    np.testing.assert_allclose(changed[1], logits[1], rtol=0, atol=1e-5 * np.abs(logits).max())
    assert not np.array_equal(changed[0], logits[0])


def test_bfloat16(subject):
    """The computation is bfloat16 (the logits differ a little), parameters and logits are float32."""
    x = subject.images()
    low = subject.create(dtype=jnp.bfloat16)
    logits = jax.jit(low.apply)(subject.variables, x)
    assert logits.dtype == jnp.float32
    assert np.all(np.isfinite(logits))
    exact = subject.logits
    difference = np.abs(logits - exact).max() / np.abs(exact).max()
    assert 1e-4 < difference < ROUGH.get(subject.name, 0.1)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes_of(low, *x.shape)["params"])} == {jnp.dtype(jnp.float32)}


def test_param_dtype(subject):
    params = shapes_of(subject.create(param_dtype=jnp.bfloat16), *subject.images().shape)["params"]
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.bfloat16)}


def test_activation(subject):
    """Of smp's models, which apply it to the logits if they are asked to, and to nothing later."""
    if getattr(subject.model, "activation", "") is not None:
        return
    seen = []

    def activation(logits):
        seen.append(logits.shape[-1])
        return logits.astype(jnp.float16)

    result = jax.eval_shape(subject.create(activation=activation).apply, subject.variables, subject.images())
    assert seen == [CLASSES] and (result.shape, result.dtype) == (subject.logits.shape, jnp.float16)


def test_gradients_reach_every_parameter(subject):
    gradients = flatten_dict(jax.tree.map(np.asarray, subject.evaluated[0]), sep="/")
    assert [name for name, leaf in gradients.items() if not np.all(np.isfinite(leaf))] == []
    assert [name for name, leaf in gradients.items() if not np.any(leaf)] == []


def test_forward_mode(subject):
    """Tangents of the logits, as they are; what has derivatives in reverse mode only cannot be traced."""
    x = subject.images()
    logits, tangents = jax.eval_shape(lambda v: jax.jvp(lambda v: subject.model.apply(v, x), (v,), (v,)), subject.variables)
    assert tangents.shape == logits.shape and tangents.dtype == logits.dtype == jnp.float32


def test_training_changes_the_statistics_and_nothing_else(subject):
    logits, new = subject.trained
    assert isinstance(logits, jax.Array) and isinstance(new, dict)
    assert set(new) - {"aux_logits"} == set(subject.variables)
    jax.tree.map(np.testing.assert_array_equal, new["params"], subject.variables["params"])
    for path, leaf in flatten_dict(new.get("batch_stats", {})).items():
        old = flatten_dict(subject.variables["batch_stats"])[path]
        assert leaf.shape == old.shape and not np.array_equal(leaf, old)


def test_dropout_depends_on_its_key(subject):
    """In models that have any; the others do not depend on it."""
    first, x = subject.trained[0], subject.images(subject.sizes[2])
    again, other = (subject.train(subject.variables, x, jax.random.key(key))[0] for key in (0, 1))
    np.testing.assert_array_equal(first, again)
    if any("dropout" in field for field in subject.model.__dataclass_fields__):
        assert not np.array_equal(first, other)
    else:
        np.testing.assert_array_equal(first, other)


def test_onnx(subject):
    """The model as a file for other runtimes."""
    from tests.onnx_models import converted

    x = subject.images()
    run = converted(subject.model.apply, subject.variables, [x], count=1)
    np.testing.assert_allclose(run(x)[0], subject.logits, rtol=0, atol=1e-4 * np.abs(subject.logits).max())


def test_evaluation_changes_nothing(subject):
    _, (_, new) = subject.evaluated
    for path, leaf in flatten_dict(dict(new)).items():
        np.testing.assert_array_equal(leaf, flatten_dict(subject.variables)[path])


def test_fields_and_arguments(subject):
    assert set(subject.variables) <= {"params", "batch_stats", "diameters"}
    assert {"num_classes", "dtype", "param_dtype", "axis_name"} <= set(subject.model.__dataclass_fields__)
    train = inspect.signature(type(subject.model).__call__).parameters["train"]
    assert train.kind is inspect.Parameter.KEYWORD_ONLY and train.default is False
