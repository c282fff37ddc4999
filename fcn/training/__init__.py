"""Training: state, pure step, optimizer, checkpoints, records, loop. Models, optimizers and data come in as arguments."""

from fcn.training.best import Best
from fcn.training.ensemble import ensembled, stacked, unstacked
from fcn.training.loop import NonFiniteLossError, Schedule, fit
from fcn.training.optimizer import OptimizerConfig, make_optimizer, make_schedule
from fcn.training.signals import Interrupted, StopSignals
from fcn.training.state import SkippingState, TrainState, abstract_state, create_state, parameter_digest
from fcn.training.step import make_eval_step, make_train_step, scanned

__all__ = [
    "Best",
    "Interrupted",
    "NonFiniteLossError",
    "OptimizerConfig",
    "Schedule",
    "SkippingState",
    "StopSignals",
    "TrainState",
    "abstract_state",
    "create_state",
    "ensembled",
    "fit",
    "make_eval_step",
    "make_optimizer",
    "make_schedule",
    "make_train_step",
    "parameter_digest",
    "scanned",
    "stacked",
    "unstacked",
]
