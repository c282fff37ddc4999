"""A model and its variables as one folder: `model.json` says what the network is, `variables.safetensors` holds its numbers."""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from fcn.draft import draft_folder, open_to_readers
from fcn.environment import CONFIG
from fcn.preprocessing import Preprocessing, from_json
from fcn.pretrained.description import describe, plain, read_object, rebuild
from fcn.pretrained.names import dimensions_of, image_channels, parts
from fcn.pretrained.reading import number_array, read_file
from fcn.ranges import abbreviate
from fcn.shipped import is_shipped, located

if TYPE_CHECKING:
    import fcn.tasks  # which needs what only data and pictures do

FORMAT = 1
_DESCRIPTION, _VARIABLES = "model.json", "variables.safetensors"
_FACTS = ("classes", "palette", "preprocessing", "licence", "label_ids")
_OLD_FACTS = ("mean", "std", "bgr")  # of folders written before there was a record


class Saved(NamedTuple):
    """What `load` gives."""

    model: nn.Module
    variables: dict[str, Any]
    classes: tuple[str, ...] | None
    palette: tuple[tuple[int, int, int], ...] | None
    preprocessing: Preprocessing | None
    licence: str | None
    task: "fcn.tasks.Task | None" = None
    """What the channels of the logits mean; None: nothing was said, so that they are those of a softmax."""
    label_ids: tuple[int, ...] | None = None
    """What label images store for each class; None: its number."""

    @property
    def mean(self) -> tuple[float, ...] | None:
        """The record's, if there is one."""
        return self.preprocessing and self.preprocessing.mean

    @property
    def std(self) -> tuple[float, ...] | None:
        """The record's, if there is one."""
        return self.preprocessing and self.preprocessing.std

    @property
    def bgr(self) -> bool:
        """The record's; false if there is none."""
        return self.preprocessing is not None and self.preprocessing.bgr


def save(
    path: str | Path,
    model: nn.Module,
    variables: Mapping[str, Any],
    *,
    classes: Sequence[str] | None = None,
    palette: Sequence[Sequence[int]] | np.ndarray | None = None,
    preprocessing: Preprocessing | None = None,
    mean: Sequence[int | float] | None = None,
    std: Sequence[int | float] | None = None,
    bgr: bool = False,
    licence: str | None = None,
    task: "fcn.tasks.Task | None" = None,
    label_ids: Sequence[int] | None = None,
) -> None:
    """Writes a model of this library and its variables into a new folder, whole or not at all.

    Args:
        path: of the folder; its parents are made.
        model: a module of `fcn.models`, `fcn.encoders` or `fcn.classifiers`, as `create_model`, `create_encoder` and
            `create_classifier` give it.
        variables: its variables.
        classes: names of the classes, in the order of the logits.
        palette: a colour (R, G, B), 0..255, for each class.
        preprocessing: what the network expects of images.
        mean, std, bgr: these of its fields, in place of the record.
        licence: under which the variables may be used.
        task: what the channels of the logits mean, with classes and palette, which are not given then.
        label_ids: what label images store for each class, 0..255, where that is another number than its own.

    Raises:
        FileExistsError: there is something at `path` already.
        ValueError: the model is not one of this library, or has a field that JSON cannot hold; the variables are not the
            model's, or no finite floating-point numbers; classes, palette, ids, task or what is said of images do not fit.
    """
    from safetensors.numpy import save_file

    path = Path(path)
    if os.path.lexists(path):  # a link to nothing, too
        raise FileExistsError(f"{path} exists already; nothing was written")
    description = {"format": FORMAT, "model": describe(model)}
    preprocessing = _record(preprocessing, mean, std, bgr)
    if task is not None:
        if classes is not None or palette is not None:
            raise ValueError("the task says classes and palette already; give either it or these")
        classes, palette = task.classes, task.palette
    values = (classes, palette, preprocessing, licence, label_ids)
    facts = {name: plain(value) for name, value in zip(_FACTS, values, strict=True) if value is not None}
    if task is not None:
        from fcn.tasks import to_json

        facts["task"] = to_json(task)
    tensors = {"/".join(leaf): np.asarray(value) for leaf, value in flatten_dict(dict(variables)).items()}
    wanted = _check_description(model, tensors, facts | {"preprocessing": preprocessing})
    _check_tensors(model, tensors, wanted)
    text = json.dumps(description | facts, indent=2) + "\n"
    with draft_folder(path) as draft:
        (draft / _DESCRIPTION).write_text(text)
        save_file(tensors, draft / _VARIABLES)
        open_to_readers(draft / _VARIABLES)
        os.rename(draft, path)


def _record(preprocessing: Any, mean: Any, std: Any, bgr: bool) -> Preprocessing | None:
    """The record that `save` was given, whole or by its fields.

    Raises:
        ValueError: it is none, both were given, or mean or std is no list of numbers.
    """
    if not isinstance(preprocessing, Preprocessing | None):
        raise ValueError(f"preprocessing is {abbreviate(preprocessing)}; give a fcn.preprocessing.Preprocessing")
    if mean is None and std is None and not bgr:
        return preprocessing
    if preprocessing is not None:
        raise ValueError("preprocessing says mean, std and bgr already; give either the record or these")
    given: dict[str, Any] = {}
    for name, values in (("mean", mean), ("std", std)):
        try:
            given |= {} if values is None else {name: tuple(map(float, values))}
        except (TypeError, ValueError):
            raise ValueError(f"{name} is {abbreviate(values)}; give a number for each channel") from None
    return Preprocessing(**given, bgr=bgr)


def load(path: str | Path) -> Saved:
    """Reads what `save` wrote, and checks it as `save` does. No code is read or run: modules of this library only are named.

    Args:
        path: of the folder, or the name of a network that comes with the library: "nuclei".

    Raises:
        FileNotFoundError: there is no such folder, or a part of it is missing.
        ValueError: a file is damaged or was written in another format, names a module or field that this library does not have,
            or holds what `save` would not have written.
    """
    path = located(path)
    for name in (_DESCRIPTION, _VARIABLES):
        if not (path / name).is_file():
            raise FileNotFoundError(f"{path} is no saved model: it has no {name}")
    description = _read_description(path / _DESCRIPTION)
    tensors = read_file(path / _VARIABLES)
    if is_shipped(path):
        tensors = {name: value.astype(np.float32) for name, value in tensors.items()}
    try:
        model = rebuild(description["model"])
        facts = {name: _tuples(description[name]) for name in _FACTS if name in description}
        facts["preprocessing"] = _read_preprocessing(description)
        facts["task"] = description.get("task")
        wanted = _check_description(model, tensors, facts)
    except (AttributeError, KeyError, NotImplementedError, RecursionError, TypeError) as error:
        raise ValueError(f"{path / _DESCRIPTION} does not describe a network ({type(error).__name__}: {error})") from error
    except ValueError as error:
        raise ValueError(f"{path / _DESCRIPTION}: {error}") from None
    try:
        _check_tensors(model, tensors, wanted)
    except ValueError as error:
        raise ValueError(f"{path / _VARIABLES}: {error}") from None
    leaves = {tuple(name.split("/")): jnp.asarray(value) for name, value in tensors.items()}
    return Saved(model, unflatten_dict(leaves), **{name: facts.get(name) for name in _FACTS}, task=_task(facts))


def load_preprocessing(path: str | Path) -> Preprocessing | None:
    """What a saved model says of images, without reading its variables; see `load` for the errors."""
    file = located(path) / _DESCRIPTION
    description = _read_description(file)
    try:
        return _read_preprocessing(description)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def load_task(path: str | Path) -> "fcn.tasks.Task | None":
    """What a saved model says of its channels, without reading its variables; see `load` for the errors."""
    file = located(path) / _DESCRIPTION
    description = _read_description(file)
    try:
        return _task(description)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file}: {error}") from None


def _task(facts: Mapping[str, Any]) -> "fcn.tasks.Task | None":
    """The task that is described, with the classes beside it."""
    if facts.get("task") is None:
        return None
    from fcn import tasks

    return tasks.from_json(facts["task"], facts.get("classes") or (), facts.get("palette") or ())


def _read_description(file: Path) -> dict[str, Any]:
    """The object in a file that anybody may have written.

    Raises:
        ValueError: it is no JSON object, larger than descriptions are, of another format, or says what is not known here.
    """
    description = read_object(file)
    if description.get("format") != FORMAT:
        raise ValueError(f"{file} has format {description.get('format')!r}; this version of fcn reads format {FORMAT}")
    if extra := sorted(set(description) - {"format", "model", "task", *_FACTS, *_OLD_FACTS}):
        raise ValueError(f"{file} says {', '.join(extra)}, which this version of fcn does not know")
    return description


def _read_preprocessing(description: Mapping[str, Any]) -> Preprocessing | None:
    """The record of a description, or what older ones say in its place."""
    old = {name: description[name] for name in _OLD_FACTS if name in description}
    if "preprocessing" not in description and not old:
        return None
    return from_json(description.get("preprocessing", old))


def _check_description(model: nn.Module, tensors: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> dict[tuple, tuple]:
    """Refuses facts that do not belong to the model, when they are written and when they are read.

    Returns:
        the shapes of the model's variables by path, for images of as many channels as the tensors are for.

    Raises:
        ValueError: the fields make no network, or what is said of classes, colours or images does not fit.
    """
    num_classes = getattr(model, "num_classes", None)
    _check_texts(facts, num_classes if facts.get("task") is None else None)
    if (task := _task(facts)) and task.channels != num_classes:
        raise ValueError(f"the task {task.name!r} has {task.channels} channels, but the model has {num_classes} classes")
    channels, wanted = _wanted(model, _shapes(tensors))
    preprocessing = facts.get("preprocessing")
    if preprocessing is not None and preprocessing.channels != channels:
        raise ValueError(f"preprocessing is for images of {preprocessing.channels} channels, the variables for {channels}")
    return wanted


def _check_texts(facts: Mapping[str, Any], num_classes: int | None) -> None:
    for kind in ("classes", "palette"):
        if (values := facts.get(kind)) is None:
            continue
        if not isinstance(values, list | tuple):
            raise ValueError(f"{kind} is {abbreviate(values)}; it must be a list")
        if num_classes is not None and len(values) != num_classes:
            raise ValueError(f"{kind} has {len(values)} entries, but the model has {num_classes} classes")
    classes = facts.get("classes") or ()
    for name in (*classes, facts.get("licence") or ""):
        if not isinstance(name, str):
            raise ValueError(f"{abbreviate(name)} is no text; names of classes and the licence are")
    if twice := [name for name, count in Counter(classes).items() if count > 1]:
        raise ValueError(f"two classes are called {twice[0]!r}; give each a name of its own")
    ids = facts.get("label_ids")
    if ids is not None and not classes:
        raise ValueError("label_ids need classes; give these, too")
    if ids is not None and not _are_ids(ids, len(classes)):
        raise ValueError(
            f"label_ids is {abbreviate(ids)}; give another number from 0 to 255 for each of {len(classes)} classes"
        )
    for colour in facts.get("palette") or ():
        if not (isinstance(colour, list | tuple) and len(colour) == 3 and all(map(_is_byte, colour))):
            raise ValueError(f"palette has the colour {abbreviate(colour)}; give red, green and blue from 0 to 255")


def _are_ids(values: Any, count: int) -> bool:
    return isinstance(values, list | tuple) and all(map(_is_byte, values)) and len({*values}) == len(values) == count


def _is_byte(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255


def _shapes(tensors: Mapping[str, np.ndarray]) -> dict[tuple, tuple]:
    return {tuple(name.split("/")): np.shape(value) for name, value in tensors.items()}


def _wanted(model: nn.Module, given: Mapping[tuple, tuple]) -> tuple[int, dict[tuple, tuple]]:
    """The number of channels that the given shapes are for, and the shapes that `model.init` would give for it."""
    try:
        dimensions = dimensions_of(model, map(len, given.values()))
        leaves = parts(model, 3, dimensions).variables
        channels = image_channels(model, leaves, given.get, dimensions)
        leaves = leaves if channels == 3 else parts(model, channels, dimensions).variables
    except Exception as error:  # whatever a network raises whose fields do not go together
        raise ValueError(f"{type(model).__name__} with these fields is no network: {error}") from error
    return channels, {path: leaf.shape for path, leaf in leaves.items()}


def _check_tensors(model: nn.Module, tensors: Mapping[str, np.ndarray], wanted: Mapping[tuple, tuple]) -> None:
    """Refuses variables that `model.init` would not give.

    Raises:
        ValueError: some are missing, left over or misshapen, or hold no finite floating-point numbers.
    """
    given = _shapes(tensors)
    if given != wanted:
        faults = sorted("/".join(path) for path in wanted.keys() | given.keys() if given.get(path) != wanted.get(path))
        more = f" and {len(faults) - 5} more" if len(faults) > 5 else ""
        whole = (
            "" if any(path[0] == "params" for path in given) else "; give all collections, {'params': ..., 'batch_stats': ...}"
        )
        raise ValueError(f"these variables are not those of {type(model).__name__}: {', '.join(faults[:5])}{more}{whole}")
    for name, value in tensors.items():
        if number_array(name, value).dtype == np.float64 and not CONFIG.jax_enable_x64:
            raise ValueError(f"{name} holds float64, in which JAX does not compute here; convert it to float32")


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
