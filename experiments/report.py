"""What a finished run shows: pictures, and last of all its result."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from PIL import Image

from experiments.build import Experiment
from experiments.run_folder import CONFUSION, CURVES, PANELS, RunFolder
from fcn.inference import make_predictor
from fcn.training import SkippingState, parameter_digest
from fcn.training.records import read_records, write_json
from fcn.visualize.files import save_pictures

PICTURED = 4


def write_report(
    folder: RunFolder, experiment: Experiment, state: Any, measured: Any, seconds: float, ended: str | None
) -> None:
    """Writes pictures/ and then result.json, which marks the run as finished.

    Args:
      folder: the run's folder.
      experiment: its objects.
      state: the final state, one copy.
      measured: the state of the task's metric after the validation split.
      seconds: time spent in training, over all starts of the run.
      ended: why it ended before its last step, if it did.
    """
    from fcn import visualize

    folder.pictures.mkdir(exist_ok=True)
    val, task = experiment.val, experiment.task
    chosen = np.linspace(0, len(val) - 1, min(PICTURED, len(val))).astype(int)
    samples = cut_alike([val[int(i)] for i in chosen])
    images = np.stack([sample["image"] for sample in samples])
    predict = make_predictor(experiment.model.clone(axis_name=None), experiment.preprocessing, task)
    variables = jax.device_put(jax.tree.map(np.asarray, state.eval_variables), jax.local_devices()[0])
    panel = task.panel(images, [task.truth(sample) for sample in samples], predict(variables, images))
    save_pictures({folder.pictures / PANELS: Image.fromarray(panel)})
    visualize.plot_curves(read_records(folder.metrics), folder.pictures / CURVES)
    task.draw(measured, folder.pictures / CONFUSION)
    result = {
        **experiment.evaluation(measured),
        "steps": int(state.step),
        "seconds": seconds,
        "ended": ended,
        "skipped": int(state.skipped[0]) if isinstance(state, SkippingState) else 0,
        "parameters": sum(x.size for x in jax.tree.leaves(state.params)),
        "params_sha256": parameter_digest(state.params),
    }
    write_json(folder.result, result)


def cut_alike(samples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Samples whose images and targets are cut, below and to the right, to the height and width that all of them have."""
    height, width = (min(sample["image"].shape[axis] for sample in samples) for axis in (0, 1))
    return [
        {name: value[:height, :width] if isinstance(value, np.ndarray) else value for name, value in sample.items()}
        for sample in samples
    ]
