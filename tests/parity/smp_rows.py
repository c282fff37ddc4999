"""Which of smp's models are compared, with what encoders, options and sizes."""

from typing import NamedTuple

import pytest

import fcn
from fcn.pretrained.smp import SMP_CLASSES
from tests.parity.models import CLASSES, smp_model

UNET = {"decoder_channels": (32, 24, 16, 16, 16)}
UNET3 = {"encoder_depth": 3, "decoder_channels": (32, 16, 8)}
UNET4 = {"encoder_depth": 4, "decoder_channels": (32, 16, 16, 8)}
SMALL = {
    "unet": UNET,
    "unetplusplus": UNET,
    "manet": {**UNET, "decoder_pab_channels": 8},
    "linknet": {},
    "fpn": {"decoder_pyramid_channels": 16, "decoder_segmentation_channels": 32},
    "pspnet": {"psp_out_channels": 16},
    "pan": {"decoder_channels": 8},
    "deeplabv3": {"decoder_channels": 16, "decoder_atrous_rates": (2, 4, 6)},
    "deeplabv3plus": {"decoder_channels": 16, "decoder_atrous_rates": (2, 4, 6)},
    "upernet": {"decoder_channels": 16},
    "segformer": {"decoder_segmentation_channels": 16},
    "dpt": {
        "encoder_depth": 2,
        "encoder_output_indices": (0, 1),
        "decoder_intermediate_channels": (8, 12),
        "decoder_fusion_channels": 16,
    },
}
"""Options that make a decoder small: they are those of every row that does not say `default`."""
MARKS = {"slow": pytest.mark.slow}


class Row(NamedTuple):
    """A model here and its reference."""

    model: str
    options: dict
    size: tuple[int, int] = (64, 96)
    """The images' height and width."""
    extended: tuple[int, int] | None = None
    """What the reference takes in its place, if it does not take `size`: the image's last row and column are repeated."""
    encoder: str = "resnet18"
    channels: int = 3
    tame: str | None = None
    settled: bool = False
    exact: bool = False
    """In float64, as in float32 the reference itself is 3e-4 away from that."""
    beyond: tuple[str, ...] = ()
    """Beginnings of the names of tensors that the reference has and does not use."""
    reference: dict = {}  # noqa: RUF012  (a default that nothing changes)
    """Options that the reference alone needs."""

    def create(self, **options):
        return fcn.create_model(self.model, num_classes=CLASSES, encoder=self.encoder, **self.options, **options)

    def net(self, device=None):
        options = {**self.options, **self.reference} | ({"in_channels": self.channels} if self.channels != 3 else {})
        if self.model == "dpt":  # for images of any size
            options |= {"dynamic_img_size": True}
        tag = options.pop("tag", "")
        return smp_model(SMP_CLASSES[self.model], device, encoder_name=_NAMES.get(self.encoder, self.encoder) + tag, **options)


_NAMES = {name: f"tu-{name}_224" for name in ("vit_small_patch16", "vit_base_patch16")} | {"convnext_tiny": "tu-convnext_tiny"}


def row(model, *marks, default=False, **fields):
    """A row of a table, with the small decoder unless `default` is asked for; further keywords are the options."""
    known = {name: fields.pop(name) for name in Row._fields if name in fields}
    options = fields if default else SMALL[model] | fields
    words = [model, known.get("encoder"), default and "default", *(f"{name}={value}" for name, value in fields.items())]
    return pytest.param(Row(model, options, **known), id=" ".join(filter(None, words)), marks=[MARKS[mark] for mark in marks])


ODD = {"size": (33, 65), "extended": (64, 96)}
VIT_BEYOND = ("encoder.model.norm.", "encoder.model.head.")
WHOLE = {"default": True, "aux_params": {"classes": 7}}
NETWORKS = [
    row("unet", **WHOLE, size=(33, 65), decoder_attention_type="scse", tame="attention", exact=True),
    row("unetplusplus", **WHOLE, **ODD, decoder_attention_type="scse", tame="attention"),
    row("manet", **WHOLE, **ODD),
    row("linknet", **WHOLE, **ODD),
    row("fpn", **WHOLE, **ODD),
    row("pspnet", **WHOLE, size=(65, 97), extended=(72, 104), beyond=("encoder.layer3", "encoder.layer4")),
    row("pan", **WHOLE, size=(33, 145), extended=(128, 160)),
    row("deeplabv3", **WHOLE, size=(65, 97), extended=(72, 104)),
    row("deeplabv3plus", **WHOLE, size=(65, 97), extended=(80, 112)),
    row("upernet", **WHOLE, **ODD),
    row("segformer", **WHOLE, **ODD),
    row("segformer", **WHOLE, encoder="mit_b0"),
    # With the tag that smp's default has: the classifier that it keeps has the classes of ImageNet-21k.
    row(
        "dpt",
        encoder="vit_small_patch16",
        size=(48, 80),
        aux_params={"classes": 7, "pooling": "max"},
        reference={"tag": ".augreg_in21k"},
        beyond=(*VIT_BEYOND, *(f"encoder.model.blocks.{i}." for i in range(2, 12))),
    ),
]
"""With a head for classes of the image and, but for the last, the reference's own widths."""

INSTANCE = {"type": "instancenorm", "affine": True, "eps": 1e-3}
OPTIONS = [
    row("unet", size=(33, 65)),
    row("unet", decoder_attention_type="scse", decoder_interpolation="bilinear", tame="attention"),
    row("unet", encoder="vgg11_bn", size=(33, 65)),
    row("unet", decoder_use_norm=INSTANCE, channels=1),
    row("unet", "slow", decoder_interpolation="bicubic", decoder_use_norm=False, size=(33, 65)),
    row("unet", "slow", **UNET3, aux_params={"classes": 7, "pooling": "max", "dropout": 0.5}, size=(33, 65)),
    row("unet", "slow", **UNET4, decoder_interpolation="nearest-exact", size=(33, 65)),
    row("unet", "slow", **UNET3, encoder="vgg11", size=(33, 65)),
    row("unetplusplus", encoder="vgg11_bn", **ODD),
    row("unetplusplus", decoder_attention_type="scse", decoder_interpolation="bilinear", tame="attention"),
    row("unetplusplus", **UNET3, decoder_interpolation="bicubic", channels=1),
    row("unetplusplus", "slow", decoder_use_norm=False, decoder_interpolation="area"),
    row("unetplusplus", "slow", **UNET4),
    row("manet", encoder="vgg11_bn", **ODD),
    row("manet", decoder_interpolation="bilinear", channels=1),
    row("manet", "slow", decoder_use_norm=False),
    row("manet", "slow", default=True, **UNET3),
    row("manet", "slow", default=True, **UNET4),
    row("linknet", encoder="vgg11_bn", **ODD),
    row("linknet", decoder_use_norm=False, channels=1),
    row(
        "linknet",  # smp names the softmax over channels softmax2d
        encoder_depth=3,
        activation="softmax2d",
        aux_params={"classes": 7, "activation": "sigmoid"},
        tame="head",
    ),
    row("linknet", "slow", decoder_use_norm={"type": "instancenorm", "affine": True}),
    row("linknet", "slow", encoder_depth=4),
    row("fpn", encoder="vgg11_bn", **ODD),
    row("fpn", decoder_merge_policy="cat", decoder_interpolation="bilinear"),
    row("fpn", encoder_depth=3, reference={"upsampling": 1}),  # the logits have the image's size; smp must be told the factor
    row("fpn", upsampling=1, channels=1),
    row("fpn", "slow", encoder_depth=4, reference={"upsampling": 2}),
    row("fpn", "slow", encoder_depth=3, encoder="vgg11_bn", reference={"upsampling": 1}),
    row("fpn", "slow", upsampling=2),
    row("pspnet", encoder="vgg11_bn", size=(33, 65), extended=(40, 72)),
    row("pspnet", encoder_depth=5, upsampling=32, channels=1),
    row("pspnet", "slow", decoder_use_norm=False),
    row("pspnet", "slow", encoder_depth=4, upsampling=16),
    # Sides of a multiple of 16, at least 128; at stride 32 at least 256. VGG cannot be dilated, in smp either.
    row("pan", encoder="vgg11_bn", default=True, encoder_depth=4, encoder_output_stride=32, size=(128, 160)),
    row("pan", encoder_depth=3, decoder_interpolation="nearest", size=(128, 144)),
    row("pan", encoder_depth=3, upsampling=2, channels=1, size=(128, 144)),
    row("pan", "slow", encoder="vgg11_bn", default=True, encoder_output_stride=32, size=(256, 288)),
    row("pan", "slow", encoder="resnext50_32x4d", default=True, size=(128, 144)),
    row("pan", "slow", encoder="mit_b0", default=True, encoder_output_stride=32, size=(256, 288)),
    row("pan", "slow", encoder="mit_b0", default=True, size=(128, 144)),
    row("pan", "slow", encoder_depth=4, decoder_interpolation="bicubic", size=(128, 144)),
    row(
        "pan",
        "slow",
        encoder="vgg11",
        encoder_depth=3,
        encoder_output_stride=32,
        decoder_interpolation="area",
        size=(128, 144),
    ),
    row("deeplabv3", encoder_output_stride=16, decoder_aspp_separable=True, upsampling=4, channels=1),
    row("deeplabv3", encoder_depth=3, decoder_channels=24),
    row("deeplabv3", encoder="mobilenet_v2", encoder_depth=4, encoder_output_stride=8, settled=True),
    row("deeplabv3", encoder="mit_b0"),  # two stages are dilated, of which the first one's keys are as many as its pixels
    row("deeplabv3", "slow", encoder="resnext50_32x4d", encoder_depth=4, encoder_output_stride=8, settled=True),
    row("deeplabv3plus", encoder_output_stride=8, decoder_aspp_separable=False, upsampling=2, channels=1),
    row("deeplabv3plus", encoder_depth=3, decoder_atrous_rates=(1, 2, 3)),
    row("deeplabv3plus", encoder="mobilenet_v2", encoder_depth=4, encoder_output_stride=8, settled=True),
    row("deeplabv3plus", encoder="mit_b0"),
    row("deeplabv3plus", "slow", encoder="resnext50_32x4d", encoder_depth=4, encoder_output_stride=8, settled=True),
    row("upernet", encoder="mit_b0"),
    row("upernet", encoder_depth=3, decoder_use_norm=False),
    row("upernet", encoder_depth=3, upsampling=2, channels=1),
    row("upernet", "slow", encoder="mit_b0", default=True),
    row("upernet", "slow", encoder="mit_b0", encoder_depth=4, decoder_use_norm={"type": "batchnorm", "eps": 1e-3}),
    row("upernet", "slow", encoder="vgg11", encoder_depth=3),
    row("segformer", encoder_depth=3, upsampling=2, channels=1),
    row("segformer", "slow", encoder_depth=4),
    row("segformer", "slow", encoder="mit_b0", encoder_depth=4),
    row("segformer", "slow", encoder="vgg11", encoder_depth=3),
    *(row("dpt", encoder="vit_small_patch16", decoder_readout=kind, size=(48, 80)) for kind in ("cat", "add", "ignore")),
    row("dpt", "slow", encoder="vit_small_patch16", default=True),
    row("dpt", "slow", encoder="vit_small_patch16", img_size=64, size=(64, 64)),
]

PARAMETERS = [
    *(
        row(model, encoder="vgg11_bn", default=True)
        for model in ("unet", "unetplusplus", "manet", "linknet", "fpn", "upernet", "segformer")
    ),
    *(row(model, encoder="vgg11_bn", default=True, decoder_attention_type="scse") for model in ("unet", "unetplusplus")),
    row("linknet", encoder="vgg11_bn", default=True, decoder_use_norm=False),
    row("fpn", encoder="vgg11_bn", default=True, decoder_merge_policy="cat"),
    *(row("pspnet", encoder=name, default=True, encoder_depth=5) for name in ("resnet18", "vgg11_bn")),
    row("pspnet", encoder="vgg11_bn", default=True, encoder_depth=5, decoder_use_norm=False),
    row("pan", encoder="vgg11_bn", default=True, encoder_output_stride=32),
    row("pan", encoder="mit_b0", default=True),
    row("pan", encoder="resnext50_32x4d", default=True),
    *(
        row(model, encoder=name, default=True)
        for model in ("deeplabv3", "deeplabv3plus")
        for name in ("resnet34", "mobilenet_v2")
    ),
    *(row("upernet", encoder=name, default=True) for name in ("mit_b0", "convnext_tiny")),
    *(row("dpt", encoder=f"vit_{size}_patch16", default=True, beyond=VIT_BEYOND) for size in ("small", "base")),
]
"""Other encoders and options with the reference's own widths."""

_TINY = {"encoder_depth": 3, "size": (32, 48)}
_VGG = {"encoder": "vgg11", **_TINY}
_UNET = {"decoder_channels": (32, 16, 16), **_VGG}
TRAINING = [
    row("unet", **_UNET, decoder_attention_type="scse"),
    row("unetplusplus", **_UNET, decoder_attention_type="scse"),
    row("manet", **_UNET),
    row("linknet", **_VGG),
    row("fpn", **_VGG, upsampling=1, decoder_dropout=0.0),
    row("pspnet", **_VGG, psp_dropout=0.0),
    row("pan", encoder_depth=3, size=(64, 64)),
    row("deeplabv3", **_TINY, decoder_aspp_dropout=0.0),
    row("deeplabv3plus", **_TINY, decoder_aspp_dropout=0.0),
    row("upernet", **_TINY),
    row("segformer", **_TINY),
]
"""The smallest of each, without dropout; encoders' gradients are compared elsewhere."""

NORM = ({"decoder_use_norm": "batch_norm"}, "unknown norm 'batch_norm'; did you mean 'batchnorm'")
CHANNELS = ({"decoder_channels": (8, 8)}, r"decoder_channels=\(8, 8\) has 2 entries, but encoder_depth is 5")
ATTENTION = ({"decoder_attention_type": "sce"}, "unknown decoder_attention_type 'sce'; did you mean 'scse'")
NOT_DILATED = ({"encoder": "vgg11"}, "cannot be dilated")
OUTPUT_STRIDE = ({"encoder_output_stride": 32}, "encoder_output_stride is 32; choose 8 or 16")
SHALLOW = ({"encoder_depth": 2}, "depth is 2")
VIT = {"encoder": "vit_small_patch16"}
ERRORS = [
    ("unet", *CHANNELS),
    ("unet", *ATTENTION),
    ("unet", *NORM),
    ("unet", {"decoder_use_norm": {"type": "batchnorm", "epsilon": 1}}, "known are eps"),
    ("unet", {"decoder_interpolation": "neares"}, "unknown method of resizing 'neares'; did you mean 'nearest'"),
    ("unet", {"decoder_channels": (8,) * 5, "decoder_attention_type": "scse"}, "at least 16 channels"),
    ("unet", {"aux_params": {"num_classes": 7}}, "unknown option of aux_params 'num_classes'; did you mean 'classes'"),
    ("unet", {"aux_params": {"classes": 7, "pooling": "avgs"}}, "unknown pooling 'avgs'; did you mean 'avg'"),
    ("unetplusplus", *CHANNELS),
    ("unetplusplus", *ATTENTION),
    ("manet", *CHANNELS),
    ("linknet", *NORM),
    ("fpn", {"decoder_merge_policy": "ad"}, "unknown decoder_merge_policy 'ad'; did you mean 'add'"),
    ("pspnet", *NORM),
    ("pan", *SHALLOW),
    ("pan", {"encoder_output_stride": 8}, "encoder_output_stride is 8; choose 16 or 32"),
    ("pan", {"decoder_interpolation": "bilinea"}, "unknown method of resizing 'bilinea'; did you mean 'bilinear'"),
    ("pan", *NOT_DILATED),
    ("deeplabv3", *OUTPUT_STRIDE),
    ("deeplabv3", *NOT_DILATED),
    ("deeplabv3plus", *OUTPUT_STRIDE),
    ("deeplabv3plus", *NOT_DILATED),
    ("upernet", *SHALLOW),
    ("upernet", *NORM),
    ("segformer", *SHALLOW),
    ("dpt", {"encoder": "resnet18"}, "encoder 'resnet18' has no class token; DPT takes vit_small_patch16, vit_base_patch16"),
    ("dpt", {**VIT, "decoder_readout": "ad"}, "unknown decoder_readout 'ad'; did you mean 'add'"),
    ("dpt", {**VIT, "encoder_depth": 3}, "has 4 entries, but encoder_depth is 3"),
    (
        "dpt",
        {**VIT, "encoder_output_indices": (1, 2)},
        r"encoder_output_indices=\(1, 2\) has 2 entries, but encoder_depth is 4",
    ),
]
