"""What a finished run shows: pictures, and last of all its result."""

from typing import Any

import jax
import numpy as np
from PIL import Image

from experiments.building.build import Experiment, Measurement
from experiments.reports.examples import Examples
from experiments.runs.run_folder import CONFUSION, CURVES, PANELS, RunFolder
from fcn.training import SkippingState, parameter_digest
from fcn.training.records import read_records, write_json
from fcn.visualize.files import save_pictures


def write_report(
    folder: RunFolder,
    experiment: Experiment,
    examples: Examples,
    state: Any,
    measured: Measurement,
    seconds: float,
    ended: str | None,
) -> None:
    """Writes pictures/ and then result.json, which marks the run as finished.

    Args:
      folder: the run's folder.
      experiment: its objects.
      examples: pictures of its validation images.
      state: the final state, one copy; its `opt_state` is not looked at.
      measured: what the validation split gave.
      seconds: time spent in training, over all starts of the run.
      ended: why it ended before its last step, if it did.
    """
    from fcn import visualize

    folder.pictures.mkdir(exist_ok=True)
    if (picture := examples.picture(state.eval_variables)) is not None:
        save_pictures({folder.pictures / PANELS: Image.fromarray(picture)})
    visualize.plot_curves(read_records(folder.metrics), folder.pictures / CURVES)
    experiment.task.draw(measured.state, folder.pictures / CONFUSION)
    result = {
        **experiment.evaluation(measured),
        "steps": int(np.max(state.step)),
        "seconds": seconds,
        "ended": ended,
        "skipped": int(state.skipped[0]) if isinstance(state, SkippingState) else 0,
        "parameters": sum(x.size for x in jax.tree.leaves(state.params)),
        "params_sha256": parameter_digest(state.params),
    }
    write_json(folder.result, result)
