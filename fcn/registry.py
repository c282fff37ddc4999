"""Every model, encoder and classifier by name: literal tables, and the functions that build from them."""

import fnmatch
import operator
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, SupportsIndex, TypeVar

import flax.linen as nn

from fcn.classifiers.dense import pooled_classifier, vgg_classifier
from fcn.classifiers.mean import mean_classifier
from fcn.classifiers.mobile import efficientnet_classifier, mobilenet_v2_classifier, mobilenet_v3_classifier
from fcn.classifiers.squeezenet import squeezenet_classifier
from fcn.classifiers.token import token_classifier
from fcn.encoders.convnext import CONVNEXTS
from fcn.encoders.densenet import DENSENETS
from fcn.encoders.efficientnet import EFFICIENTNETS
from fcn.encoders.entry import Encoder, check_row
from fcn.encoders.mobilenet_v2 import MOBILENETS_V2
from fcn.encoders.mobilenet_v3 import MOBILENETS_V3
from fcn.encoders.regnet import REGNETS
from fcn.encoders.resnet import RESNETS
from fcn.encoders.resnet_cifar import RESNETS_CIFAR
from fcn.encoders.senet import SENETS
from fcn.encoders.squeezenet import SQUEEZENETS
from fcn.encoders.swin import SWINS
from fcn.encoders.table import ENCODERS, find_encoder
from fcn.encoders.vgg import VGG_ENCODERS
from fcn.encoders.vit import VISION_TRANSFORMERS
from fcn.errors import unknown
from fcn.models.attention_unet import AttentionUNet
from fcn.models.cpnet import CPNet
from fcn.models.deeplabv3 import DeepLabV3
from fcn.models.deeplabv3_mobilenet_v2_tf import DeepLabV3MobileNetV2TF
from fcn.models.deeplabv3plus import DeepLabV3Plus
from fcn.models.dilated import FCN, DeepLabV3Torchvision
from fcn.models.dpt import DPT
from fcn.models.espnet import ESPNet, ESPNetC
from fcn.models.fc_densenet import FCDenseNet, FCDenseNet56, FCDenseNet67
from fcn.models.fcn import FCN8s, FCN16s, FCN32s
from fcn.models.fpn import FPN
from fcn.models.linknet import LinkNet
from fcn.models.lraspp import LRASPP
from fcn.models.manet import MANet
from fcn.models.meshnet import MeshNet
from fcn.models.nnunet import PlainConvUNet, ResidualEncoderUNet
from fcn.models.pan import PAN
from fcn.models.phasenet import PhaseNet
from fcn.models.pspnet import PSPNet
from fcn.models.residual_unet import ResidualUNet
from fcn.models.segformer import SegFormer
from fcn.models.segnet import SegNet
from fcn.models.segresnet import SegResNet
from fcn.models.stardist_unet import StarDistUNet
from fcn.models.unet import UNet
from fcn.models.unet2015 import UNet2015
from fcn.models.unet_encoder import UNetEncoder
from fcn.models.unetplusplus import UNetPlusPlus
from fcn.models.upernet import UPerNet
from fcn.options import build, known_options
from fcn.preprocessing import IMAGENET_MEAN, IMAGENET_STD, PerImage, Preprocessing

Row = TypeVar("Row")


class Entry(NamedTuple):
    """One row of a table."""

    constructor: Callable[..., nn.Module]
    paper: str = ""
    reference: str = ""
    """The implementation against which it is tested."""
    mean: tuple[float, ...] = IMAGENET_MEAN
    """What published weights expect: images of values 0..1, minus this mean, ..."""
    std: tuple[float, ...] = IMAGENET_STD
    """... divided by this."""
    bgr: bool = False
    """Published weights expect the channels as blue, green, red; mean and std are then in this order, too."""
    with_encoder: Callable[..., nn.Module] | None = None
    """Built instead where an encoder is asked for."""
    per_image: PerImage | None = None
    """Published weights expect each image to be brought to 0..1 so."""
    axes: int = 2
    """They are for signals (1), images (2) or volumes (3)."""

    @property
    def preprocessing(self) -> Preprocessing:
        """What published weights expect of images, as a record."""
        return Preprocessing(self.mean, self.std, self.bgr, per_image=self.per_image, axes=self.axes)


_FCN = "Long, Shelhamer, Darrell, Fully Convolutional Networks for Semantic Segmentation, CVPR 2015"
_DEEPLABV3 = "Chen et al., Rethinking Atrous Convolution for Semantic Image Segmentation, arXiv:1706.05587"
_LRASPP = "Howard et al., Searching for MobileNetV3, ICCV 2019"
_UNET = "Ronneberger, Fischer, Brox, U-Net, MICCAI 2015"
# (x - m) / s / 255 of x in 0..255, as ESPNet's authors normalise, is (x - m / 255) / s of x in 0..1.
_ESPNET = "Mehta et al., ESPNet, ECCV 2018"
_CAMVID_MEAN, _CAMVID_STD = (110.33102643, 108.40886315, 105.03319369), (72.12571015, 72.69074534, 69.90434816)
_CITYSCAPES_MEAN, _CITYSCAPES_STD = (72.3923111, 82.90893555, 73.15840149), (45.3192215, 46.15289307, 44.91483307)
_NNUNET = "Isensee et al., nnU-Net, Nature Methods 2021"
_TIRAMISU = "Jégou et al., The One Hundred Layers Tiramisu, CVPR Workshops 2017"
MODELS = {
    "fcn32s": Entry(FCN32s, _FCN, "torchfcn FCN32s"),
    "fcn16s": Entry(FCN16s, _FCN, "torchfcn FCN16s"),
    "fcn8s": Entry(FCN8s, _FCN, "torchfcn FCN8s, FCN8sAtOnce"),
    "unet2015": Entry(UNet2015, _UNET, "the paper's sizes and counts"),
    "unet": Entry(UNet, _UNET, "none: the modern form in common use; with an encoder: smp Unet", with_encoder=UNetEncoder),
    "attention_unet": Entry(AttentionUNet, "Oktay et al., Attention U-Net, MIDL 2018", "none: the paper's equations"),
    "unetplusplus": Entry(UNetPlusPlus, "Zhou et al., UNet++, DLMIA 2018", "smp UnetPlusPlus"),
    "linknet": Entry(LinkNet, "Chaurasia, Culurciello, LinkNet, VCIP 2017", "smp Linknet"),
    "manet": Entry(MANet, "Fan et al., MA-Net, IEEE Access 2020", "smp MAnet"),
    "fpn": Entry(FPN, "Lin et al., Feature Pyramid Networks, CVPR 2017; Kirillov et al., CVPR 2019", "smp FPN"),
    "pspnet": Entry(PSPNet, "Zhao et al., Pyramid Scene Parsing Network, CVPR 2017", "smp PSPNet"),
    "pan": Entry(PAN, "Li et al., Pyramid Attention Network, BMVC 2018", "smp PAN"),
    "deeplabv3": Entry(DeepLabV3, _DEEPLABV3, "smp DeepLabV3"),
    "deeplabv3plus": Entry(
        DeepLabV3Plus, "Chen et al., Encoder-Decoder with Atrous Separable Convolution, ECCV 2018", "smp DeepLabV3Plus"
    ),
    "upernet": Entry(UPerNet, "Xiao et al., Unified Perceptual Parsing, ECCV 2018", "smp UPerNet"),
    "segformer": Entry(SegFormer, "Xie et al., SegFormer, NeurIPS 2021", "smp Segformer"),
    "dpt": Entry(
        DPT, "Ranftl et al., Vision Transformers for Dense Prediction, ICCV 2021", "smp DPT", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    ),
    "fcn": Entry(FCN, _FCN, "torchvision FCN"),
    "fcn_resnet50": Entry(partial(FCN, encoder="resnet50"), _FCN, "torchvision fcn_resnet50"),
    "fcn_resnet101": Entry(partial(FCN, encoder="resnet101"), _FCN, "torchvision fcn_resnet101"),
    "deeplabv3_resnet50": Entry(
        partial(DeepLabV3Torchvision, encoder="resnet50"), _DEEPLABV3, "torchvision deeplabv3_resnet50"
    ),
    "deeplabv3_resnet101": Entry(
        partial(DeepLabV3Torchvision, encoder="resnet101"), _DEEPLABV3, "torchvision deeplabv3_resnet101"
    ),
    "deeplabv3_mobilenet_v3_large": Entry(
        partial(DeepLabV3Torchvision, encoder="mobilenet_v3_large", encoder_output_stride=16, aux_stride=8),
        _DEEPLABV3,
        "torchvision deeplabv3_mobilenet_v3_large",
    ),
    "lraspp": Entry(LRASPP, _LRASPP, "torchvision LRASPP"),
    "lraspp_mobilenet_v3_large": Entry(
        partial(LRASPP, encoder="mobilenet_v3_large"), _LRASPP, "torchvision lraspp_mobilenet_v3_large"
    ),
    "deeplabv3_mobilenet_v2_tf": Entry(
        DeepLabV3MobileNetV2TF,
        "Chen et al., Rethinking Atrous Convolution, 2017; Sandler et al., MobileNetV2, CVPR 2018",
        "TensorFlow DeepLab's outputs",
        mean=(128 / 255,) * 3,
        std=(128 / 255,) * 3,
    ),
    "espnet": Entry(
        ESPNet, _ESPNET, "its authors' outputs on CamVid", tuple(m / 255 for m in _CAMVID_MEAN), _CAMVID_STD, bgr=True
    ),
    "espnet_c": Entry(
        ESPNetC, _ESPNET, "the paper's sizes and counts", tuple(m / 255 for m in _CITYSCAPES_MEAN), _CITYSCAPES_STD, bgr=True
    ),
    "segnet": Entry(SegNet, "Badrinarayanan et al., SegNet, PAMI 2017", "none: PyTorch's layers; the paper's counts"),
    "fc_densenet56": Entry(FCDenseNet56, _TIRAMISU, "none: PyTorch's layers; the authors' counts"),
    "fc_densenet67": Entry(FCDenseNet67, _TIRAMISU, "none: PyTorch's layers; the authors' counts"),
    "fc_densenet103": Entry(FCDenseNet, _TIRAMISU, "none: PyTorch's layers; the authors' counts"),
    "stardist_unet": Entry(
        StarDistUNet,
        "Schmidt et al., StarDist, MICCAI 2018",
        "none: PyTorch's layers; the counts of stardist",
        mean=(0.0,),
        std=(1.0,),
        per_image="percentiles",
    ),
    "cpnet": Entry(
        CPNet,
        "Stringer et al., Cellpose, Nature Methods 2021",
        "none: PyTorch's layers; the counts of cellpose",
        mean=(0.0, 0.0),
        std=(1.0, 1.0),
        per_image="percentiles",
    ),
    "meshnet": Entry(MeshNet, "Fedorov et al., MeshNet, IJCNN 2017", "Brainchop's networks on a head", (0.0,), (1.0,)),
    "plain_conv_unet": Entry(PlainConvUNet, _NNUNET, "dynamic_network_architectures PlainConvUNet"),
    "residual_encoder_unet": Entry(ResidualEncoderUNet, _NNUNET, "dynamic_network_architectures ResidualEncoderUNet"),
    "segresnet": Entry(SegResNet, "Myronenko, SegResNet, BrainLes 2018", "monai SegResNet"),
    "residual_unet": Entry(ResidualUNet, "Kerfoot et al., Residual U-Net, STACOM 2018", "monai UNet"),
    "phasenet": Entry(
        PhaseNet,
        "Zhu, Beroza, PhaseNet, GJI 2019",
        "its authors' outputs on seismograms",
        mean=(1 / 2,) * 3,  # of values 0..1, which are three deviations below the mean of a signal to three above
        std=(1 / 6,) * 3,
        per_image="z-score",
        axes=1,
    ),
}
# Image classifiers: the encoders of each family with the head that the paper gives it.
_MOBILENET_V3_HIDDEN = {"mobilenet_v3_small": 1024, "mobilenet_v3_large": 1280}
_CLASSIFIERS = (
    (VGG_ENCODERS, lambda name, _: partial(vgg_classifier, name)),
    (RESNETS, lambda _, constructor: partial(pooled_classifier, constructor)),
    (RESNETS_CIFAR, lambda _, constructor: partial(pooled_classifier, constructor, head="linear")),
    (SENETS, lambda _, constructor: partial(pooled_classifier, constructor, head="last_linear")),
    (DENSENETS, lambda _, constructor: partial(pooled_classifier, constructor, head="classifier", relu=True)),
    (SQUEEZENETS, lambda _, constructor: partial(squeezenet_classifier, constructor)),
    (MOBILENETS_V2, lambda *_: mobilenet_v2_classifier),
    (MOBILENETS_V3, lambda name, constructor: partial(mobilenet_v3_classifier, constructor, _MOBILENET_V3_HIDDEN[name])),
    (EFFICIENTNETS, lambda name, _: partial(efficientnet_classifier, name)),
    (REGNETS, lambda _, constructor: partial(mean_classifier, constructor)),
    (CONVNEXTS, lambda _, constructor: partial(mean_classifier, constructor, "mean")),
    (SWINS, lambda _, constructor: partial(mean_classifier, constructor, "pixels", 1e-5)),
    (VISION_TRANSFORMERS, lambda _, constructor: partial(token_classifier, constructor)),
)
CLASSIFIERS = {
    name: Entry(build(name, row.constructor), row.paper, row.reference, row.mean, row.std)
    for family, build in _CLASSIFIERS
    for name, row in family.items()
}


def list_models(pattern: str = "*") -> list[str]:
    """Sorted names of the segmentation models that match a shell pattern such as "fcn*"."""
    return sorted(fnmatch.filter(MODELS, pattern))


def list_encoders(pattern: str = "*") -> list[str]:
    """Sorted names of the encoders that match a shell pattern such as "vgg*_bn"."""
    return sorted(fnmatch.filter(ENCODERS, pattern))


def create_model(
    name: str, *, num_classes: SupportsIndex | None = None, encoder: str | Encoder | nn.Module | None = None, **options
) -> nn.Module:
    """Builds a segmentation model: images [B, H, W, C] -> logits [B, H, W, num_classes], float32.

    Args:
        name: one of `list_models()`.
        num_classes: channels of the logits, at least 1; must be given.
        encoder: for models that have one: a name of `list_encoders()`, a row (see `register_encoder`), or a module images ->
            tuple of feature maps, finest first, that is called with `train=`; None takes the model's default.
        **options: fields of the model, such as `base_features` or `dtype`.

    Raises:
        ValueError: for an unknown name, encoder or option (the message names the nearest one), a value that an option cannot
            have, an encoder that the model cannot take, or a number of classes that is below 1 or missing.
    """
    if name in ENCODERS and name not in MODELS:
        raise ValueError(f"{name!r} is an encoder, not a model; give it to one: create_model('unet', encoder={name!r}, ...)")
    entry = _lookup("model", MODELS, name)
    if num_classes is None:
        raise ValueError(f"give the number of classes: create_model({name!r}, num_classes={options.get('classes', '...')})")
    constructor = entry.constructor
    if encoder is not None:
        if not isinstance(encoder, nn.Module):
            check_row(find_encoder(encoder))
        constructor = entry.with_encoder or constructor
        if "encoder" not in known_options(constructor):
            given = repr(encoder) if isinstance(encoder, str) else type(encoder).__name__
            raise ValueError(f"model {name!r} takes no encoder, but encoder={given} was given; leave it out")
        constructor = partial(constructor, encoder=encoder)
    return build("model", name, constructor, num_classes=_count(num_classes), **options)


def entry_of(model: nn.Module) -> Entry | None:
    """The first row of the segmentation models that builds what `model` is; None for an encoder or a classifier."""
    return row_of(type(model))


def row_of(constructor: Callable[..., nn.Module]) -> Entry | None:
    """The first row of the segmentation models that builds what `constructor`, a class or a partial of one, does."""
    wanted = getattr(constructor, "func", constructor)
    for row in MODELS.values():
        if wanted in {getattr(make, "func", make) for make in (row.constructor, row.with_encoder)}:
            return row
    return None


def segments(model: nn.Module) -> bool:
    """Whether it is one of the segmentation models, not an encoder or a classifier."""
    return entry_of(model) is not None


def create_encoder(name: str, **options) -> nn.Module:
    """Builds an encoder: images [B, H, W, C] -> tuple of feature maps, finest first.

    Args:
        name: one of `list_encoders()`.
        **options: fields of the encoder.

    Raises:
        ValueError: for an unknown name or option, or a value that an option cannot have.
    """
    return build("encoder", name, find_encoder(name).constructor, **options)


def create_classifier(name: str, *, num_classes: SupportsIndex = 1000, **options) -> nn.Module:
    """Builds an image classifier: images [B, H, W, C] -> logits [B, num_classes], float32.

    Args:
        name: an encoder that has a classifier, such as "vgg16".
        num_classes: channels of the logits, at least 1.
        **options: fields of the classifier.

    Raises:
        ValueError: for an unknown name or option, a value that an option cannot have, or a number of classes below 1.
    """
    constructor = _lookup("classifier", CLASSIFIERS, name).constructor
    return build("classifier", name, constructor, num_classes=_count(num_classes), **options)


def _lookup(kind: str, table: Mapping[str, Row], name: str) -> Row:
    if name not in table:
        raise unknown(kind, name, table)
    return table[name]


def _count(num_classes: Any) -> int:
    try:
        count = operator.index(num_classes)
    except TypeError:
        raise ValueError(f"num_classes must be an integer of at least 1, not {num_classes!r}") from None
    if count < 1 or isinstance(num_classes, bool):
        raise ValueError(f"num_classes must be an integer of at least 1, not {num_classes!r}")
    return count
