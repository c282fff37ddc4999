"""Checkpoints of a run: the state and the data iterator together, written atomically in the background by Orbax."""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from jaxtyping import PyTree
from orbax.checkpoint.checkpoint_managers import preservation_policy

STATE, PROGRESS = "state", "progress"


class Checkpoints:
    """The checkpoints in one folder: the newest `keep`, and the best by a metric.

    A checkpoint appears under its final name only when it is complete; what a killed process left half-written is
    removed on the next start of its training.

    Args:
      folder: where they lie, one subfolder a step.
      keep: how many of the newest to keep.
      best_metric: name of the metric whose highest value marks the best checkpoint.
      read_only: only read, and change nothing in the folder: a training may be writing there at the same time.
    """

    def __init__(self, folder: str | Path, *, keep: int = 2, best_metric: str = "val/miou", read_only: bool = False):
        def value(metrics):
            value = metrics.get(best_metric)
            return float("-inf") if value is None else value

        policy = preservation_policy.AnyPreservationPolicy(
            [
                preservation_policy.LatestN(keep),
                preservation_policy.BestN(get_metric_fn=value, n=1, keep_checkpoints_without_metrics=False),
            ]
        )
        options = ocp.CheckpointManagerOptions(
            best_fn=value,
            best_mode="max",
            preservation_policy=policy,
            cleanup_tmp_directories=not read_only,
            read_only=read_only,
        )
        self._manager = ocp.CheckpointManager(Path(folder).absolute(), options=options)

    def latest(self) -> int | None:
        """The newest complete step, or None."""
        return self._manager.latest_step()

    def best(self) -> int | None:
        """The step with the best metric, or None."""
        return self._manager.best_step()

    def save(self, step: int, state: PyTree, progress: dict, metrics: dict[str, float | None]) -> None:
        """Starts to write `state` and the JSON-able `progress` (data iterator, clock); returns once they are copied."""
        self._manager.save(
            step,
            args=ocp.args.Composite(**{STATE: ocp.args.StandardSave(state), PROGRESS: ocp.args.JsonSave(progress)}),
            metrics=metrics,
        )

    def restore(self, step: int, template: PyTree) -> tuple[PyTree, dict[str, Any]]:
        """State (as in `template`: shapes, dtypes and shardings) and progress of `step`."""
        abstract = jax.tree.map(_abstract, template)
        args = ocp.args.Composite(**{STATE: ocp.args.StandardRestore(abstract), PROGRESS: ocp.args.JsonRestore()})
        restored = self._manager.restore(step, args=args)
        return restored[STATE], restored[PROGRESS]

    def wait(self) -> None:
        """Returns when what was saved is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, then lets go of the folder."""
        self._manager.close()


def _abstract(x) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=getattr(x, "sharding", None))
