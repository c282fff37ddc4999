"""Lists of operations by name, and one made of a strength."""

from collections.abc import Callable
from functools import partial
from typing import Literal

from fcn.data.augment.colour import Brightness, Contrast, Gamma, Hue, Saturation
from fcn.data.augment.filters import Blur, JpegBlocks, LowResolution, Sharpen
from fcn.data.augment.geometry import Flip, Perspective, Rotate, Scale, Shear, Stretch, Translate
from fcn.data.augment.noise import GaussianNoise
from fcn.data.augment.operation import Operation
from fcn.data.augment.pipeline import Pipeline

Name = Literal["light", "standard", "nnunet"]


def light() -> Pipeline:
    """For what has a right side up and enough images: mirrored left and right, a little larger or smaller, other light."""
    return Pipeline(
        operations=(
            Flip(),
            Scale(range=(0.8, 1.25)),
            Brightness(range=(0.8, 1.2)),
            Contrast(range=(0.8, 1.2)),
            Saturation(range=(0.8, 1.2)),
        )
    )


def standard() -> Pipeline:
    """For photos: what `light` does, more of it, and turns, slants, colours, blur, noise and blocks, each in some images."""
    return Pipeline(
        operations=(
            Flip(),
            Scale(range=(0.5, 2.0)),
            Rotate(degrees=15, probability=0.5),
            Shear(degrees=8, probability=0.2),
            Brightness(range=(0.7, 1.3), probability=0.5),
            Contrast(range=(0.7, 1.3), probability=0.5),
            Saturation(range=(0.6, 1.4), probability=0.5),
            Hue(degrees=15, probability=0.3),
            Gamma(range=(0.7, 1.5), probability=0.2),
            Blur(sigma=(0.3, 1.5), probability=0.2),
            GaussianNoise(deviation=(0, 0.05), probability=0.2),
            JpegBlocks(quality=(40, 95), probability=0.1),
        )
    )


def nnunet(axes: int = 2) -> Pipeline:
    """What nnU-Net (version 2.8) does, with its probabilities and ranges, to z-scored images: noise and brightness are measured
    by the image's own mean and deviation, and nothing is clipped. As everything moves at once, mirroring is not the last step.

    Args:
        axes: of the images.
    """
    return Pipeline(
        operations=(
            Rotate(degrees=180, oblong=15, probability=0.2),
            Scale(range=(0.7, 1.4), probability=0.2),
            GaussianNoise(deviation=(0, 0.1), relative=True, probability=0.1),
            Blur(sigma=(0.5, 1.0), channels=0.5, probability=0.2),
            Brightness(range=(0.75, 1.25), centred=True, per_channel=True, probability=0.15),
            Contrast(range=(0.75, 1.25), keep_range=True, per_channel=True, probability=0.15),
            LowResolution(range=(0.5, 1.0), channels=0.5, probability=0.25),
            Gamma(range=(0.7, 1.5), inverted=True, keep_statistics=True, per_channel=True, probability=0.1),
            Gamma(range=(0.7, 1.5), keep_statistics=True, per_channel=True, probability=0.3),
            *(Flip(axis=axis) for axis in range(axes)),
        ),
        clip=False,
    )


PRESETS: dict[Name, Callable[[], Pipeline]] = {"light": light, "standard": standard, "nnunet": nnunet}


def rand_augment(strength: float | int, operations: float | int = 2) -> tuple[Operation, ...]:
    """Operations of one strength, after RandAugment (Cubuk et al., 2020): all have the same probability, and so many of them,
    on average, change a sample. (There it is always so many, one after the other in random order.)

    Args:
        strength: 0 to 1; 0 changes nothing.
        operations: the expected number that change a sample, at most as many as there are.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength is {strength}; it must be at least 0 and at most 1")
    makers = _by_strength(float(strength))
    if not 0 <= operations <= len(makers):
        raise ValueError(f"operations is {operations}; it must be at least 0 and at most {len(makers)}")
    return tuple(make(probability=operations / len(makers)) for make in makers)


def _by_strength(s: float) -> list[Callable[..., Operation]]:
    """Of each operation the range that reaches from no change to the strongest one, shortened to the strength."""
    around = (1 - 0.8 * s, 1 + 0.8 * s)
    return [
        partial(Rotate, degrees=30 * s),
        partial(Scale, range=(1 / (1 + s), 1 + s)),
        partial(Stretch, range=(1 / (1 + 0.5 * s), 1 + 0.5 * s)),
        partial(Shear, degrees=20 * s),
        partial(Translate, share=0.3 * s),
        partial(Perspective, amount=0.3 * s),
        partial(Brightness, range=around),
        partial(Contrast, range=around),
        partial(Saturation, range=around),
        partial(Gamma, range=(1 / (1 + s), 1 + s)),
        partial(Hue, degrees=45 * s),
        partial(Sharpen, amount=(0, 2 * s)),
        partial(Blur, sigma=(0, 2 * s)),
        partial(GaussianNoise, deviation=(0, 0.15 * s)),
    ]
