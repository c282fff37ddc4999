"""Which PyTorch network stands beside which of ours, and how a user would build it."""

import functools
import importlib
from types import ModuleType

import torch
from torch import library

TIMM = {
    "mobilenet_v3_small": "mobilenetv3_small_100",
    "mobilenet_v3_large": "mobilenetv3_large_100",
    "swin_tiny": "swin_tiny_patch4_window7_224",
    "swin_small": "swin_small_patch4_window7_224",
    "swin_base": "swin_base_patch4_window7_224",
    "vit_small_patch16": "vit_small_patch16_224",
    "vit_base_patch16": "vit_base_patch16_224",
}
TORCHVISION = (
    "fcn_resnet50 fcn_resnet101 deeplabv3_resnet50 deeplabv3_resnet101 deeplabv3_mobilenet_v3_large lraspp_mobilenet_v3_large"
).split()


class NoReference(ValueError):
    """No PyTorch network stands beside a name."""


def reference_network(name: str, encoder: str | None, classes: int, size: int) -> torch.nn.Module:
    """The PyTorch network that a user would take in place of ours, with random weights.

    Args:
      name: of a model or an encoder.
      encoder: of the model, or None.
      classes: channels of the logits.
      size: side of the images, which some transformers must know.

    Raises:
      NoReference: there is none.
    """
    from experiments.benchmark import networks
    from fcn.pretrained.smp import SMP_CLASSES
    from fcn.registry import ENCODERS, MODELS

    if name not in MODELS and name in ENCODERS:
        return reference_encoder(name, size)
    if encoder is None and name in networks.NETWORKS:
        return networks.NETWORKS[name](classes)
    if name in ("fcn8s", "fcn16s", "fcn32s"):
        return networks.FCNVGG16(classes, name)
    if name in ("fcn", "lraspp") and encoder is None:
        name = {"fcn": "fcn_resnet50", "lraspp": "lraspp_mobilenet_v3_large"}[name]
    if name in TORCHVISION:
        build = getattr(torchvision().models.segmentation, name)
        options = {"aux_loss": True} if name != "lraspp_mobilenet_v3_large" else {}
        return build(weights=None, weights_backbone=None, num_classes=classes, **options)
    smp_name = SMP_CLASSES.get(name) if name != "unet" or encoder else None
    if smp_name is None:
        raise NoReference(f"no PyTorch network stands beside {name!r}" + (f" with {encoder}" if encoder else ""))
    if smp_name == "DPT":  # its own default is larger than ours
        encoder = f"tu-{TIMM[encoder or 'vit_base_patch16']}"
    options = {} if encoder is None else {"encoder_name": encoder}
    return getattr(smp(), smp_name)(encoder_weights=None, classes=classes, **options)


def reference_encoder(name: str, size: int) -> torch.nn.Module:
    """The PyTorch encoder of a name: smp's where it has it, else timm's or torchvision's; images -> maps."""
    if name in smp().encoders.encoders:
        return smp().encoders.get_encoder(name, weights=None)
    if name.startswith("squeezenet"):
        return getattr(torchvision().models, name)(weights=None).features
    if name.endswith("_cifar"):
        from experiments.benchmark import networks

        return networks.ResNetCIFAR(int(name.removeprefix("resnet").removesuffix("_cifar")))
    sized = {"img_size": size} if name.startswith(("swin", "vit")) else {}
    return timm().create_model(TIMM.get(name, name), pretrained=False, features_only=True, **sized)


@functools.cache
def torchvision() -> ModuleType:
    """torchvision; with a PyTorch for which its compiled operators were not built, the names that it expects are declared."""
    try:
        return importlib.import_module("torchvision")
    except RuntimeError:
        for operator in ("nms", "qnms"):
            library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return importlib.import_module("torchvision")


@functools.cache
def smp() -> ModuleType:
    """segmentation_models_pytorch."""
    torchvision()
    return importlib.import_module("segmentation_models_pytorch")


@functools.cache
def timm() -> ModuleType:
    """timm."""
    torchvision()
    return importlib.import_module("timm")
