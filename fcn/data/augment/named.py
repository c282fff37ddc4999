"""Operations as words of a command line: "rotate(degrees=30,probability=0.5)"."""

import inspect
import re
import typing
from collections.abc import Callable, Sequence
from typing import Any

from fcn.calls import read_options
from fcn.data.augment.colour import Brightness, Contrast, Gamma, Hue, Saturation
from fcn.data.augment.filters import Blur, JpegBlocks, LowResolution, Sharpen
from fcn.data.augment.geometry import Elastic, Flip, Perspective, Rotate, Rotate90, Scale, Shear, Stretch, Translate
from fcn.data.augment.mixing import ClassMix, CopyPaste, CutMix
from fcn.data.augment.noise import CoarseDropout, GaussianNoise, ShotNoise
from fcn.data.augment.operation import Operation
from fcn.data.augment.presets import rand_augment
from fcn.errors import unknown
from fcn.options import frozen, wrong_type
from fcn.ranges import abbreviate

OPERATIONS: dict[str, type[Operation] | Callable[..., tuple[Operation, ...]]] = {
    "flip": Flip,
    "rotate90": Rotate90,
    "rotate": Rotate,
    "scale": Scale,
    "stretch": Stretch,
    "shear": Shear,
    "perspective": Perspective,
    "translate": Translate,
    "elastic": Elastic,
    "brightness": Brightness,
    "contrast": Contrast,
    "gamma": Gamma,
    "hue": Hue,
    "saturation": Saturation,
    "blur": Blur,
    "sharpen": Sharpen,
    "low_resolution": LowResolution,
    "jpeg_blocks": JpegBlocks,
    "gaussian_noise": GaussianNoise,
    "shot_noise": ShotNoise,
    "coarse_dropout": CoarseDropout,
    "cutmix": CutMix,
    "classmix": ClassMix,
    "copy_paste": CopyPaste,
    "rand_augment": rand_augment,
}
"""What is written -> what it makes: an operation, or several."""

_WORD = re.compile(r"(\w+)(?:\(([^()]*)\))?")


def parse_operations(words: Sequence[str]) -> tuple[Operation, ...]:
    """Reads operations: "elastic", "rotate(degrees=30,probability=0.5)", "scale(range=[0.5,2])", "rand_augment(strength=0.5)".

    Args:
        words: each a name of `OPERATIONS`, and options of it in brackets.

    Returns:
        The operations in their order.

    Raises:
        ValueError: a word is not of this form, an operation or an option does not exist, or a value is not allowed.
    """
    return tuple(operation for word in words for operation in _made(word))


def _made(word: str) -> tuple[Operation, ...]:
    match = _WORD.fullmatch(re.sub(r"\s", "", word))
    if not match:
        raise ValueError(f"{abbreviate(word)} is no operation; write NAME(OPTION=VALUE), as in rotate(degrees=30)")
    name, text = match.groups()
    if name not in OPERATIONS:
        raise unknown("operation", name, OPERATIONS)
    make = OPERATIONS[name]
    made = make(**_options(name, make, text or ""))
    return (made,) if isinstance(made, Operation) else made


def _options(name: str, make: Callable, text: str) -> dict[str, Any]:
    """The arguments of what makes an operation, each with the type that it is declared with."""
    hints, known = typing.get_type_hints(make), inspect.signature(make).parameters
    options = {key: frozen(value) for key, value in read_options(name, text, known).items()}
    for key, value in options.items():
        if wanted := wrong_type(value, hints[key]):
            raise ValueError(f"{key} of {name} is {abbreviate(value)}; it must be {wanted}")
    if missing := [key for key, field in known.items() if field.default is field.empty and key not in options]:
        raise ValueError(f"{name} needs {missing[0]}, as in {name}({missing[0]}=0.5)")
    return options
