"""From a configuration to the optimizer of a network, and to what of the network it leaves alone."""

from typing import Any

import flax.linen as nn
import optax

from experiments.configuration.config import TrainConfig
from fcn.training import make_optimizer


def configured_optimizer(config: TrainConfig, model: nn.Module) -> optax.GradientTransformation:
    """The optimizer of a run of `model`."""
    return make_optimizer(config.optim, config.steps, encoder=encoder_place(model), **frozen_parts(config, model))


def parts_of_state(config: TrainConfig) -> dict[str, bool]:
    """What a training state has besides the usual, as keywords of `create_state`."""
    return {"ema": config.ema > 0, "skip": config.on_nan == "skip"}


def frozen_parts(config: TrainConfig, model: nn.Module) -> dict[str, Any]:
    """What of `model` is frozen and until when, as keywords of its optimizer and step; `encoder` is its encoder."""
    parts = tuple(encoder_place(model) if part == "encoder" else part for part in config.freeze)
    return {"frozen": parts, "unfreeze_after": config.unfreeze_after}


def encoder_place(model: nn.Module) -> str:
    """What the encoder of a model is called among its variables."""
    return getattr(model, "encoder_name", "encoder")
