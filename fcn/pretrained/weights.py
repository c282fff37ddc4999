"""Published weights by name.

`NAME.TAG`: the name of the model or encoder and what it was trained on. torchvision's files are named after the beginning of
their SHA-256; smp's and timm's come from the Hugging Face hub, which checks them itself.
"""

from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn

from fcn.errors import unknown
from fcn.pretrained.conversion import from_torch
from fcn.pretrained.download import download, weights_folder
from fcn.registry import create_encoder, create_model

_TORCHVISION = "https://download.pytorch.org/models"
_HUB_FILE = "model.safetensors"


class Weights(NamedTuple):
    """Where weights are, and what they are for."""

    model: str
    """Name of the segmentation model, or of the encoder."""
    source: str
    """Whose names their tensors have, for `fcn.from_torch`."""
    url: str
    """Of the file, or "hub:OWNER/NAME" of a repository on the Hugging Face hub."""
    sha256: str = ""
    """Beginning of the file's SHA-256."""
    classes: tuple[str, ...] = ()
    """Names of the classes of a segmentation model."""
    revision: str = ""
    """The commit of a repository on the hub; "": its newest."""
    licence: str = ""
    """Under which the weights may be used, where their source states it (SPDX)."""


def _torchvision(file: str, classes: tuple[str, ...] = ()) -> Weights:
    model, _, sha256 = file.rpartition("-")
    return Weights(model.removesuffix("_coco"), "torchvision", f"{_TORCHVISION}/{file}.pth", sha256, classes)


def _timm(name: str, tag: str) -> Weights:
    ending = _TIMM_ENDINGS.get(name.split("_")[0], "")
    return Weights(name, "timm", f"hub:timm/{name}{ending}.{tag}", licence=_TIMM_LICENCES[tag])


_IMAGENET_V1 = (
    "resnet18-f37072fd resnet34-b627a593 resnet50-0676ba61 resnet101-63fe2227 resnet152-394f9c45 resnext50_32x4d-7cdf4587 "
    "resnext101_32x8d-8ba56ff5 wide_resnet50_2-95faca4d wide_resnet101_2-32ee1156 vgg11-8a719046 vgg11_bn-6002323d "
    "vgg13-19584684 vgg13_bn-abd245e5 vgg16-397923af vgg16_bn-6c64b313 vgg19-dcbb9e9d vgg19_bn-c79401a0 "
    "mobilenet_v2-b0353104 mobilenet_v3_small-047dcff4 mobilenet_v3_large-8738ca79 "
    "densenet121-a639ec97 densenet161-8d451a50 densenet169-b2777c0a densenet201-c1103571 squeezenet1_0-b66bff10 "
    "squeezenet1_1-b8a52dc0"
).split()
_IMAGENET_V2 = (
    "resnet50-11ad3fa6 resnet101-cd907fc2 resnet152-f82ba261 resnext50_32x4d-1a0047aa resnext101_32x8d-110c445d "
    "wide_resnet50_2-9ba9bcbe wide_resnet101_2-d733dc28 mobilenet_v2-7ebf99e0 mobilenet_v3_large-5c1a4163"
).split()
_SMP = {
    "mit_b0": "9ce53d104d92d75aabb00aae70677aaab67e7c84",
    "mit_b1": "a04bf4f13a549bce677cf79b04852e7510782817",
    "mit_b2": "868ab6f13871dcf8c3d9f90ee4519403475b65ef",
    "mit_b3": "32558d12a65f1daa0ebcf4f4053c4285e2c1cbda",
    "mit_b4": "3a3454e900a4b4f11dd60eeb59101a9a1a36b017",
    "mit_b5": "ced04d96c586b6297fd59a7a1e244fc78fdb6531",
    "mobilenet_v2": "e67aa804e17f7b404b629127eabbd224c4e0690b",
    "se_resnet50": "e6b4bc2dc85226c3d3474544410724a485455459",
    "se_resnet101": "71fe95cc0a27f444cf83671f354de02dc741b18b",
    "se_resnet152": "e79fc3d9d76f197bd76a2593c2054edf1083fe32",
    "se_resnext50_32x4d": "73246406d879a2b0e3fdfe6fddd56347d38f38ae",
    "se_resnext101_32x4d": "18808a4276f46421d358a9de554e0b93c2795df4",
    "efficientnet-b0": "1bbe7ecc1d5ea1d2058de1a2db063b8701aff314",
    "efficientnet-b1": "5d637466a5215de300a8ccb13a39357df2df2bf4",
    "efficientnet-b2": "a96d4f0295ffbae18ebba173bf7f3c0c8f21990e",
    "efficientnet-b3": "074c54a6c473e0d294690d49cedb6cf463e7127d",
    "efficientnet-b4": "05cd5dde5dab658f00c463f9b9aa0ced76784f40",
    "efficientnet-b5": "69f4d28460a4e421b7860bc26ee7d832e03e01ca",
    "efficientnet-b6": "8570752016f7c62ae149cffa058550fe44e21c8b",
    "efficientnet-b7": "5a5dbe687d612ebc3dca248274fd1191111deda6",
}
"""The commit of each repository that smp itself takes; timm takes the newest."""

_COCO_VOC = (
    "fcn_resnet50_coco-1167a1af fcn_resnet101_coco-7ecb50ca deeplabv3_resnet50_coco-cd0a2569 deeplabv3_resnet101_coco-586e9e4e "
    "deeplabv3_mobilenet_v3_large-fc3c493d lraspp_mobilenet_v3_large-d234d4ea"
).split()
VOC_CLASSES = tuple(
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant "
    "sheep sofa train tvmonitor".split()
)
"""The classes of PASCAL VOC, in order."""

_TIMM = {
    "pycls_in1k": ("regnety_002", "regnety_004", "regnety_006", "regnety_008", "regnety_016", "regnety_032"),
    "fb_in1k": ("convnext_tiny", "convnext_small", "convnext_base"),
    "ms_in1k": ("swin_tiny", "swin_small", "swin_base"),
    "augreg_in21k_ft_in1k": ("vit_small_patch16", "vit_base_patch16"),
    "augreg_in21k": ("vit_small_patch16", "vit_base_patch16"),
}
_TIMM_LICENCES = {
    "pycls_in1k": "MIT",
    "fb_in1k": "Apache-2.0",
    "ms_in1k": "MIT",
    "augreg_in21k_ft_in1k": "Apache-2.0",
    "augreg_in21k": "Apache-2.0",
}
_TIMM_ENDINGS = {"swin": "_patch4_window7_224", "vit": "_224"}

_CAMVID = "sky building column_pole road sidewalk tree sign fence car pedestrian bicyclist void"
_ESPNET = "https://raw.githubusercontent.com/sacmehta/ESPNet/afe71c38edaee3514ca44e0adcafdf36109bf437/pretrained/decoder"

WEIGHTS: dict[str, Weights] = {
    **{f"{row.model}.imagenet1k_v1": row for row in map(_torchvision, _IMAGENET_V1)},
    **{f"{row.model}.imagenet1k_v2": row for row in map(_torchvision, _IMAGENET_V2)},
    **{f"{row.model}.coco_voc": row for row in (_torchvision(file, VOC_CLASSES) for file in _COCO_VOC)},
    **{
        f"{name}.imagenet": Weights(name, "smp", f"hub:smp-hub/{name}.imagenet", revision=revision)
        for name, revision in _SMP.items()
    },
    **{f"{name}.{tag}": _timm(name, tag) for tag, names in _TIMM.items() for name in names},
    "espnet.camvid": Weights(
        "espnet",
        "espnet",
        f"{_ESPNET}/espnet_p_2_q_8_camvid.pth",
        "7d354a257170322086dcd4c1e89a482454cf2c9d30b085e70883878dd59301af",
        tuple(_CAMVID.split()),
    ),
}


def load_weights(
    name: str, *, model: nn.Module | None = None, in_channels: int | None = None, folder: str | Path | None = None
) -> dict[str, Any]:
    """Published weights as Flax variables, downloaded once.

    Args:
        name: such as "resnet50.imagenet1k_v2"; see `fcn.pretrained.WEIGHTS`.
        model: the module that will use them; by default the encoder (or segmentation model) of the first part of the name.
            A classifier takes all of a backbone's file.
        in_channels: channels of the model's images; None: as many as the weights are for (see `from_torch`).
        folder: where files are kept (default: FCN_WEIGHTS_DIR, else `fcn/weights` in the user's cache folder).

    Returns:
        The variables for `model`.

    Raises:
        ValueError: for an unknown name, a damaged file, or a model that the weights do not fit.
        ConnectionError: the file is not there yet and cannot be downloaded.
        ImportError: PyTorch (for torchvision's files) or huggingface_hub (for the hub's) is not installed.
    """
    if name not in WEIGHTS:
        raise unknown("weights", name, WEIGHTS)
    weights = WEIGHTS[name]
    if model is None:
        model = default_model(weights)
    if weights.url.startswith("hub:"):
        path = _from_hub(weights.url.removeprefix("hub:"), weights.revision or "main", folder)
    else:
        path = download(weights.url, weights.sha256, folder)
    return from_torch(model, path, source=weights.source, in_channels=in_channels)


def default_model(weights: Weights) -> nn.Module:
    """The module that the weights are for: a segmentation model, or the encoder of a backbone."""
    if weights.classes:
        return create_model(weights.model, num_classes=len(weights.classes))
    return create_encoder(weights.model)


def _from_hub(repository: str, revision: str, folder: str | Path | None) -> str | Path:
    """The file of a repository on the hub: one that was put there by hand, else the hub's cache, else the network."""
    folder = weights_folder() if folder is None else Path(folder)
    by_hand = folder / f"{repository.replace('/', '--')}.safetensors"
    if by_hand.is_file():
        return by_hand
    try:
        from huggingface_hub import hf_hub_download, try_to_load_from_cache
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise ImportError(f"{repository} lies on the Hugging Face hub: pip install 'fcn-zoo[hub]'") from error
    for cache in (folder, None):  # ours, and the one that smp and timm fill
        if isinstance(cached := try_to_load_from_cache(repository, _HUB_FILE, cache, revision), str):
            return cached
    try:
        return hf_hub_download(repository, _HUB_FILE, revision=revision, cache_dir=folder)
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        url = f"https://huggingface.co/{repository}/resolve/{revision}/{_HUB_FILE}"
        reason = f"{type(error).__name__}; download it by other means and put it at {by_hand}"
        raise ConnectionError(f"{url} cannot be had ({reason})") from error
