"""What the channels of a network mean: targets, loss, predictions, metric and pictures, in one place for each task.

    task = fcn.tasks.make("binary", classes=["background", "cell"])
    model = fcn.create_model("unet", num_classes=task.channels)
    loss = task.loss(logits, {"label": labels})
    masks = task.decode(logits)

Every network serves every task. A task of your own is a subclass of `Task`, which `fcn.training` takes as it is. Saved models,
runs and commands know it by its name, from `fcn.tasks.TASKS[Mine.name] = Mine` on.
"""

from fcn.tasks.boundary import Boundary
from fcn.tasks.condinst import CondInst
from fcn.tasks.flows import Flows
from fcn.tasks.instances import InstanceTask
from fcn.tasks.multilabel import Multilabel
from fcn.tasks.panoptic import Panoptic
from fcn.tasks.picks import PickTask
from fcn.tasks.regression import Regression
from fcn.tasks.semantic import Binary, Semantic
from fcn.tasks.stardist import StarDist
from fcn.tasks.table import TASKS, find, from_json, make, to_json, with_options
from fcn.tasks.task import Task

__all__ = [
    "TASKS",
    "Binary",
    "Boundary",
    "CondInst",
    "Flows",
    "InstanceTask",
    "Multilabel",
    "Panoptic",
    "PickTask",
    "Regression",
    "Semantic",
    "StarDist",
    "Task",
    "find",
    "from_json",
    "make",
    "to_json",
    "with_options",
]
