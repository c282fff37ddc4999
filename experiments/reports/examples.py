"""A few images of the validation split, shown beside what should be found in them and what the network finds."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from experiments import command
from experiments.building.build import Experiment
from fcn.data import Prepared
from fcn.data.source import spread
from fcn.errors import first_line
from fcn.inference import make_predictor
from fcn.tasks import Task
from fcn.training.protocols import Recorder

NAME = "val/examples"
"""What writers call the picture."""
_SHOWN = 4


class Examples:
    """Pictures of the same images, spread over the split; as a hook it shows one at each evaluation.

    A picture that a device cannot compute, for want of memory, is told once and ends no training.

    Args:
      experiment: the objects of the run.
      records: where the hook of the first process shows them; it belongs to all of them.
    """

    def __init__(self, experiment: Experiment, records: Recorder):
        self._experiment, self._records, self._told = experiment, records, False
        seen = experiment.preprocessing.as_read()
        self._predict = make_predictor(experiment.predicting, seen, experiment.task)

    def __call__(self, step: int, state: Any, metrics: Mapping[str, float | None]) -> None:
        if any(name.startswith("val/") for name in metrics):
            # All processes are asked; what goes wrong between them is an error here.
            variables = jax.block_until_ready(self._experiment.parallel.whole(state.eval_variables))
            if jax.process_index() == 0 and (picture := self.picture(variables)) is not None:
                self._records.show(step, {NAME: picture})

    def picture(self, variables: Any) -> UInt8[np.ndarray, "h w 3"] | None:
        """A row for each image, by the network with `variables`, which are one copy; None where it cannot be computed."""
        val = self._experiment.val
        try:
            variables = jax.device_put(jax.tree.map(np.asarray, variables), jax.local_devices()[0])
            return panel(val, spread(len(val), _SHOWN), self._experiment.task, self._predict, variables)
        except jax.errors.JaxRuntimeError as error:
            if not self._told:
                command.warn(f"validation images are not shown ({first_line(str(error))}); the training does not need that")
            self._told = True
            return None


def panel(source: Prepared, chosen: Sequence[int], task: Task, predict: Callable, variables: Any) -> UInt8[np.ndarray, "h w 3"]:
    """A row for each image that is chosen: it, what should be found and what is. One is predicted at a time, whole.

    Args:
      source: encoded for the task.
      chosen: positions of images, whose sizes may differ.
      task: what the network learns.
      predict: of `make_predictor`, and
      variables: those of the network.
    """
    samples = [source[position] for position in chosen]
    scores = [predict(variables, sample["image"][None])[0] for sample in samples]
    return task.panel([sample["image"] for sample in samples], [task.truth(sample) for sample in samples], scores)
