"""The options of a task by which a network predicts the images of a split best."""

from typing import Any

from experiments.building.build import make_evaluator
from experiments.building.networks import Network
from fcn import tasks
from fcn.data import Prepared


def tuned(network: Network, source: Prepared, batch_size: int, parallel: Any) -> tuple[Network, dict[str, float], float]:
    """The network with the best options of its task, these options, and the score that they reach.

    Raises:
      ValueError: the task has nothing to be tuned.
    """
    tuning = network.task.tuning()
    if tuning is None:
        raise ValueError(f"the network's task {network.task.name!r} has no thresholds to be tuned; leave out --tune")
    measure = make_evaluator(network.model, tuning, network.preprocessing, source, batch_size, parallel)
    *_, score = found = tuning.metric().compute(measure(parallel.put_state(network.variables)).state)
    options = dict(zip(found._fields[:-1], found[:-1], strict=True))
    return network._replace(task=tasks.with_options(network.task, **options)), options, score
