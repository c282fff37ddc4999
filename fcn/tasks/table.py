"""All tasks by name, and a task as JSON values."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from fcn.errors import unknown
from fcn.tasks.boundary import Boundary
from fcn.tasks.condinst import CondInst
from fcn.tasks.flows import Flows
from fcn.tasks.multilabel import Multilabel
from fcn.tasks.panoptic import Panoptic
from fcn.tasks.picks import PickTask
from fcn.tasks.regression import Regression
from fcn.tasks.semantic import Binary, Semantic
from fcn.tasks.stardist import StarDist
from fcn.tasks.task import Task

_ALL = (Semantic, Binary, Multilabel, Regression, Boundary, StarDist, Flows, CondInst, Panoptic, PickTask)
TASKS: dict[str, type[Task]] = {task.name: task for task in _ALL}
DEFAULT = Semantic.name


def make(name: str, classes: Sequence[str], **options) -> Task:
    """A task by name.

    Args:
        name: one of `TASKS`.
        classes: names of what the network tells; of a binary task those of the labels 0 and 1.
        options: further fields: palette, terms (of the loss), ignore_index, and what the task has of its own.

    Returns:
        The task; `task.channels` is the `num_classes` of its networks.

    Raises:
        ValueError: for an unknown task or option, or classes and options that do not fit it.
    """
    task = find(name)
    known = set(inspect.signature(task).parameters) - {"classes"}
    for option in options:
        if option not in known:
            raise unknown(f"option of the task {name!r}", option, known)
    return task(classes=classes, **options)


def with_options(task: Task, **options) -> Task:
    """The task with other options, such as thresholds, for the network that it has.

    Of an option that is a mapping, as the finder's are, what is not given stays, unless another finder is named.

    Raises:
        ValueError: for an unknown option, one that does not fit the task, or one by which the network had other channels.
    """
    own = {"palette": task.palette, "terms": task.terms, "ignore_index": task.ignore_index}
    known = task.options()
    if options.get("finder", known.get("finder")) == known.get("finder"):
        options = {name: _merged(known.get(name), value) for name, value in options.items()}
    else:
        options = {**options, "finder_options": options.get("finder_options", {})}
    changed = make(task.name, task.classes, **{**own, **known, **options})
    if changed.channels != task.channels:
        raise ValueError(f"of {', '.join(options)} a network has {changed.channels} channels; this one has {task.channels}")
    return changed


def _merged(old: Any, new: Any) -> Any:
    """What is new, and of mappings also what is old."""
    return {**old, **new} if isinstance(old, Mapping) and isinstance(new, Mapping) else new


def find(name: str) -> type[Task]:
    """The class of a task; a ValueError with the nearest name for an unknown one."""
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return TASKS[name]


def to_json(task: Task) -> dict[str, Any]:
    """What tells a task from others, beside classes and palette, as JSON values."""
    return {"name": task.name, **task.options()}


def from_json(values: Any, classes: Sequence[str], palette: Sequence[Sequence[int]] = ()) -> Task:
    """The task that `to_json` gave; None stands for the semantic one, of which older records say nothing.

    Options of which older records say nothing are as they were then (`Task.older`).

    Raises:
        ValueError: there is no such task, or it cannot be made of such values.
    """
    values = {"name": DEFAULT} if values is None else values
    if not isinstance(values, Mapping) or not isinstance(values.get("name"), str):
        raise ValueError(f"task is {values!r}; it is an object with a name")
    options = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items() if key != "name"}
    if forbidden := options.keys() & {"classes", "palette", "terms", "ignore_index"}:
        raise ValueError(f"task has the field {min(forbidden)!r}, which it cannot have")
    try:
        recorded = find(values["name"]).recorded(options)
        return make(values["name"], classes, palette=tuple(map(tuple, palette)), **recorded)
    except TypeError as error:
        raise ValueError(f"task is {values!r}: {error}") from None
