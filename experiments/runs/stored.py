"""What the JSON files of a run say, checked when they are read: a damaged one is named, with the cure."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.configuration.config import TrainConfig, from_json
from fcn import preprocessing, tasks
from fcn.options import frozen, wrong_type
from fcn.ranges import abbreviate
from fcn.training.records import DamagedFile, read_json

CONFIG_CURE = "put back a copy of it, or train again in another --workdir"
FACTS_CURE = "delete it and result.json and start the training again, which writes both and loses no step"
PLAN_CURE = "delete it, and give the options that --budget chose, which are in config.json, or train again in another --workdir"
RESULT_CURE = "delete it and start the training again, which writes it and loses no step"

FACTS = {"classes": tuple[str, ...], "palette": tuple[tuple[int, int, int], ...], "image_shape": tuple[int, ...]}
PLAN = {"budget": str, "memory": str}
RESULT = {"steps": int, "seconds": float}
LARGEST = 2**16


def read_config(path: Path, values: dict[str, Any]) -> TrainConfig:
    """The configuration that the `values` in config.json are."""
    try:
        return from_json(values)
    except ValueError as error:
        raise DamagedFile(path, error, CONFIG_CURE) from None


def read_facts(path: Path) -> dict[str, Any]:
    """What data.json says."""
    facts = read_json(path, FACTS_CURE)
    try:
        _check_types(facts, FACTS)
        _check_facts(facts)
    except ValueError as error:
        raise DamagedFile(path, error, FACTS_CURE) from None
    return facts


def read_plan(path: Path) -> dict[str, Any]:
    """What plan.json says."""
    plan = read_json(path, PLAN_CURE)
    try:
        _check_types(plan, PLAN)
    except ValueError as error:
        raise DamagedFile(path, error, PLAN_CURE) from None
    return plan


def read_result(path: Path) -> dict[str, Any]:
    """What result.json says."""
    result = read_json(path, RESULT_CURE)
    try:
        _check_types(result, RESULT | {name: float | None for name in result if name.startswith("val/")})
    except ValueError as error:
        raise DamagedFile(path, error, RESULT_CURE) from None
    return result


def _check_types(values: Mapping[str, Any], types: Mapping[str, Any]) -> None:
    for name, hint in types.items():
        if name not in values:
            raise ValueError(f"it has no {name}")
        if wanted := wrong_type(frozen(values[name]), hint):
            raise ValueError(f"{name} is {abbreviate(values[name])}; it must be {wanted}")


def _check_facts(facts: Mapping[str, Any]) -> None:
    classes, palette, shape = (facts[name] for name in FACTS)
    if not classes or len(palette) != len(classes):
        raise ValueError(f"it has {len(classes)} classes and {len(palette)} colours")
    if wrong := [colour for colour in palette if not all(0 <= value <= 255 for value in colour)]:
        raise ValueError(f"palette has the colour {wrong[0]}; red, green and blue go from 0 to 255")
    if not 2 <= len(shape) <= 4 or not all(1 <= size <= LARGEST for size in shape):
        raise ValueError(f"image_shape is {shape}; one to three sides and the channels go from 1 to {LARGEST}")
    for name in ("files", "label_values"):
        parts = facts.get(name, {})
        if not (
            isinstance(parts, dict) and parts.keys() <= {"train", "val"} and all(isinstance(v, dict) for v in parts.values())
        ):
            raise ValueError(f"{name} is {abbreviate(parts)}; it must hold numbers by name, those of train and those of val")
    tasks.from_json(facts.get("task"), classes, palette)
    older = preprocessing.default_preprocessing(shape[-1]).to_json() | {"value_range": facts.get("value_range")}
    if (channels := preprocessing.from_json(facts.get("preprocessing", older)).channels) != shape[-1]:
        raise ValueError(f"preprocessing is for {channels} channels, the images have {shape[-1]}")
