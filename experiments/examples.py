"""A few images of the validation split, shown beside what should be found in them and what the network finds."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from experiments.build import Experiment
from fcn.data import Prepared
from fcn.inference import make_predictor
from fcn.tasks import Task
from fcn.training.protocols import Recorder

NAME = "val/examples"
"""What writers call the picture."""
_SHOWN = 4


class Examples:
    """Pictures of the same images, spread over the split; as a hook it shows one at each evaluation.

    Args:
      experiment: the objects of the run.
      records: where the hook of the first process shows them; it belongs to all of them.
    """

    def __init__(self, experiment: Experiment, records: Recorder):
        self._experiment, self._records = experiment, records
        self._predict = make_predictor(experiment.model.clone(axis_name=None), experiment.preprocessing, experiment.task)

    def __call__(self, step: int, state: Any, metrics: Mapping[str, float | None]) -> None:
        if any(name.startswith("val/") for name in metrics):
            state = self._experiment.parallel.whole(state)  # for which all processes are asked
            if jax.process_index() == 0:
                self._records.show(step, {NAME: self.picture(state)})

    def picture(self, state: Any) -> UInt8[np.ndarray, "h w 3"]:
        """A row for each image, by the network of `state`, which is one copy."""
        val = self._experiment.val
        chosen = np.linspace(0, len(val) - 1, min(_SHOWN, len(val))).astype(int)
        variables = jax.device_put(jax.tree.map(np.asarray, state.eval_variables), jax.local_devices()[0])
        return panel(val, chosen.tolist(), self._experiment.task, self._predict, variables)


def panel(source: Prepared, chosen: Sequence[int], task: Task, predict: Callable, variables: Any) -> UInt8[np.ndarray, "h w 3"]:
    """A row for each image that is chosen: it, what should be found and what is.

    Args:
      source: encoded for the task.
      chosen: positions of images; larger ones are cut to the size that all have.
      task: what the network learns.
      predict: of `make_predictor`, and
      variables: those of the network.
    """
    samples = cut_alike([source[position] for position in chosen])
    images = np.stack([sample["image"] for sample in samples])
    return task.panel(images, [task.truth(sample) for sample in samples], predict(variables, images))


def cut_alike(samples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Samples whose images and targets are cut, below and to the right, to the height and width that all of them have."""
    height, width = (min(sample["image"].shape[axis] for sample in samples) for axis in (0, 1))
    return [
        {name: value[:height, :width] if isinstance(value, np.ndarray) else value for name, value in sample.items()}
        for sample in samples
    ]
