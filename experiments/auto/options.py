"""A rung as options of a run, and why they are what they are."""

import dataclasses
import json
import math
from collections.abc import Iterator

from experiments.auto.budget import Length, Rung
from experiments.auto.fingerprint import LOOKED_AT, Fingerprint
from experiments.auto.plan import BASE_FEATURES, FOREGROUND, STEPS, Plan, features
from experiments.configuration.config import DataConfig, LossConfig, ModelConfig, TrainConfig
from fcn.data import AugmentConfig
from fcn.data.augment.config import REPLACED
from fcn.data.loading.sampling import SamplingConfig
from fcn.training import OptimizerConfig

_LONG = 200
"""Epochs from which all of nnU-Net's augmentation is worth its time."""
_RATE = 4e-3
"""Of a network of 16 features and batches of 8."""
_FEW = 8
"""Images that are too few for the statistics of a batch."""
_COARSEST = 3
"""Poolings without which no coarser map has a head."""
_NONE = AugmentConfig()


def configured(asked: TrainConfig, rung: Rung, data: Fingerprint, steps: int) -> TrainConfig:
    """The run of a rung, of about so many steps; what it does not decide is as asked."""
    crops = not data.alike or rung.patch != data.size
    semantic = asked.task == "semantic"
    return dataclasses.replace(
        asked,
        batch_size=rung.batch,
        steps=steps,
        data=dataclasses.replace(
            asked.data,
            crop=rung.patch if crops else None,
            channels=data.channels if data.channels in (1, 3) and len(data.size) == 2 else asked.data.channels,
            normalise=statistics(asked.data, data),
            spacing=volume_spacing(data) if data.resampled else asked.data.spacing,
        ),
        model=network(rung),
        loss=LossConfig(dice=1.0) if semantic and asked.loss.terms is None else asked.loss,
        optim=optimizer(rung),
        augment=augmentation(rung, data, steps, asked.augment),
        sampling=SamplingConfig(foreground=FOREGROUND if crops and semantic else 0.0),
        ema=round(min(max(1 - 10 / steps, 0.5), 0.999), 4),
    )


def with_length(config: TrainConfig, length: Length) -> TrainConfig:
    """The run with its length, and with records, evaluations and checkpoints at their times."""
    return dataclasses.replace(
        config,
        steps=length.steps,
        log_every=max(1, min(50, length.steps // 20)),
        eval_every=length.eval_every,
        checkpoint_every=length.eval_every,
    )


def volume_spacing(data: Fingerprint) -> tuple[float, float, float]:
    """What volumes are resampled to."""
    depth, height, width = (float(f"{step:.4g}") for step in data.spacing)
    return depth, height, width


def network(rung: Rung) -> ModelConfig:
    """That of images, which may see them at a lower resolution, or nnU-Net's own, whose strides are those of volumes."""
    if len(rung.patch) == 3:
        given = {"features_per_stage": rung.features, "strides": rung.topology.strides, "kernel_sizes": rung.topology.kernels}
        return ModelConfig("plain_conv_unet", options=tuple(f"{name}={json.dumps(value)}" for name, value in given.items()))
    return ModelConfig("unet", options=image_network(rung))


def image_network(rung: Rung) -> tuple[str, ...]:
    """The options of `unet`."""
    largest = features(99, rung.base)[-1]
    given = {"base_features": rung.base, "depth": rung.depth, "max_features": largest, "activation": "leaky_relu"}
    if rung.stem > 1:
        given["stem_stride"] = rung.stem
    if rung.whole or rung.batch < _FEW:
        given["norm"] = "instance"
    if rung.stem == 1 and rung.depth >= _COARSEST:
        given["deep_supervision"] = "true"
    return tuple(f"{name}={value}" for name, value in given.items())


def optimizer(rung: Rung) -> OptimizerConfig:
    """AdamW, which learns in a thousand steps; the rate rises with the batch and falls with the width."""
    rate = _RATE * math.sqrt(rung.batch / 8 * 16 / rung.base)
    return OptimizerConfig("adamw", learning_rate=float(f"{rate:.1g}"), weight_decay=1e-2, schedule="poly", clip_norm=12.0)


def statistics(asked: DataConfig, data: Fingerprint):
    """By which numbers images are normalised; images of a folder alone are stretched each by itself."""
    if len(data.size) == 3 and asked.mean is None:
        return "ct" if data.ct else "z-score"
    if data.photos or asked.mean is not None:
        return "weights"
    if asked.name != "folder":
        return "dataset"
    return "percentiles" if data.uneven else "z-score"


def augmentation(rung: Rung, data: Fingerprint, steps: int, asked: AugmentConfig = _NONE) -> AugmentConfig:
    """nnU-Net's list where images come often enough, else what costs little; photos stay upright, and volumes as they lie.

    No list is planned where something is asked for that it would stand in place of.
    """
    photos = data.photos
    own = any(getattr(asked, name) != getattr(_NONE, name) for name in REPLACED)
    if steps * rung.batch >= _LONG * data.images and not own:
        return AugmentConfig(preset="standard" if photos else "nnunet")
    saturation = 0.1 if photos else 0.0
    light = AugmentConfig(scale=(0.7, 1.4), brightness=0.2, contrast=0.2, saturation=saturation)
    flips = len(data.size) == 2  # few steps teach what a side of the body is, not that it may be either
    return dataclasses.replace(light, flip=flips, vertical_flip=flips and not photos)


def reasons(plan: Plan, data: Fingerprint, gigabytes: float) -> Iterator[str]:
    """Why the plan is as it is, a line each."""
    size, patch, step = ("x".join(f"{side:g}" for side in sides) for sides in (data.size, plan.patch, data.spacing))
    kind = data.kind.removesuffix("s")
    what = f"each {kind} is" if data.alike else f"the median {kind} is"
    if data.resampled:
        yield f"spacing {step} mm: the median of several, to which volumes are resampled"
    yield f"patch {patch}: {what} {size}; as much of it as goes into {gigabytes:g} GB, in {plan.stages - 1} poolings"
    yield f"batch {plan.batch_size}: what goes into {gigabytes:g} GB, at most 5 % of {data.images} {data.kind}, at least 2"
    least = "rows or columns" if len(data.size) == 2 else "slices"
    yield f"stages {plan.stages}: {plan.stages - 1} poolings, until 4 {least} are left"
    yield f"features {', '.join(map(str, plan.features))}: twice as many at each pooling, at most {plan.features[-1]}"
    yield f"normalisation {plan.normalisation}: {_colours(data)}"
    yield f"steps {STEPS}, SGD at 0.01, cross-entropy and Dice, a third of the patches at foreground: the same for all data"


def _colours(data: Fingerprint) -> str:
    if data.kind == "volumes":
        return "dataset.json says CT" if data.ct else "each volume by itself, unless dataset.json says CT"
    if data.channels == 1:
        return f"{min(data.images, LOOKED_AT)} images were looked at, all are gray; --data.channels 3 keeps colours of others"
    return "images are in colour" if data.channels == 3 else "images are not in colour"


def choices(config: TrainConfig, planned: TrainConfig, rung: Rung, data: Fingerprint) -> Iterator[str]:
    """What the budget makes of the plan, and why, a line each; what the command line says is called so."""
    size = "x".join(map(str, config.data.crop or data.size))
    epochs = config.steps * config.step_size / data.images
    network = " ".join(filter(None, (config.model.name, config.model.encoder, *config.model.options)))
    lines = {
        "patch": (size, lambda run: run.data.crop, "crops, elsewhere each time" if config.data.crop else f"whole {data.kind}"),
        "batch": (config.batch_size, lambda run: run.batch_size, _small(rung)),
        "network": (network, lambda run: run.model, _seen(rung, data)),
        "normalisation": (config.data.normalise, lambda run: run.data.normalise, _normalised(config, data)),
        "optimizer": (
            f"{config.optim.name} at {config.optim.learning_rate:g}",
            lambda run: run.optim,
            "AdamW learns in fewer steps than nnU-Net's SGD",
        ),
        "augmentation": (
            config.augment.preset if config.augment.preset != "none" else f"{'flips, ' * config.augment.flip}scale, light",
            lambda run: run.augment,
            f"each {data.kind.removesuffix('s')} comes {epochs:.0f} times",
        ),
    }
    for name, (value, part, why) in lines.items():
        yield f"{name} {value}: {why if part(config) == part(planned) else 'as given'}"


def _small(rung: Rung) -> str:
    return "all of the plan goes into the time" if rung.whole else "what is larger makes too few steps"


def _seen(rung: Rung, data: Fingerprint) -> str:
    """Why a network has its features and its resolution."""
    few = f"{rung.base} features, nnU-Net has {BASE_FEATURES}: wider ones make too few steps"
    width = "" if data.width is None else f"; the median class is {data.width:.0f} pixels wide, 4 are enough"
    return (few if rung.base < BASE_FEATURES else "as wide as nnU-Net's") + width * (rung.stem > 1)


def _normalised(config: TrainConfig, data: Fingerprint) -> str:
    if data.kind == "volumes":
        return _colours(data)
    if data.channels == 3:
        return "colours, by those of the initial weights, or ImageNet's"
    return "some images are much darker than others" if config.data.normalise == "percentiles" else "no colours, as in nnU-Net"
