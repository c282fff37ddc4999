"""Operations as words, and as options of a run."""

import pytest

from fcn.data import AugmentConfig, augment
from fcn.data.augment import (
    OPERATIONS,
    PRESETS,
    Brightness,
    Contrast,
    CutMix,
    Elastic,
    Flip,
    Gamma,
    Pipeline,
    Rotate,
    Saturation,
    Scale,
    parse_operations,
    rand_augment,
)
from fcn.data.augment.mixing import Mixing
from fcn.data.augment.operation import Geometric, Operation, Photometric


def test_every_operation_has_a_name():
    def below(cls):
        return {cls}.union(*map(below, cls.__subclasses__()))

    ours = {cls for cls in below(Operation) if cls.__module__.startswith("fcn.")}
    assert set(OPERATIONS.values()) == ours - {Operation, Geometric, Photometric, Mixing} | {rand_augment}


def test_words_are_operations_with_options():
    words = ["elastic", "scale(range=[0.5,2], probability = 0.3)", "gamma(inverted=true)", "rotate(degrees=30,oblong=null)"]
    expected = (Elastic(), Scale(range=(0.5, 2), probability=0.3), Gamma(inverted=True), Rotate(degrees=30))
    assert parse_operations(words) == expected
    assert parse_operations(["rand_augment(strength=0.5,operations=3)"]) == rand_augment(0.5, 3)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("rotat(degrees=3)", "unknown operation 'rotat'; did you mean 'rotate'"),
        ("rotate(degree=3)", "unknown option of rotate 'degree'; did you mean 'degrees'"),
        ("rotate(degrees=300)", r"Rotate.degrees is 300; it must be at least 0 and at most 180"),
        ("rotate(degrees=3,degrees=4)", "degrees of rotate is given more than once"),
        ("scale(range=2)", r"range of scale is 2; it must be tuple\[float \| int, float \| int\]"),
        ("flip(axis=left)", "axis of flip is 'left'; it must be int"),
        ("rotate(30)", "'30' is no option of 'rotate'; write OPTION=VALUE"),
        ("rotate(degrees=3", r"is no operation; write NAME\(OPTION=VALUE\), as in rotate\(degrees=30\)"),
        ("rand_augment", r"rand_augment needs strength, as in rand_augment\(strength=0.5\)"),
    ],
)
def test_other_words_are_refused(word, message):
    with pytest.raises(ValueError, match=message):
        AugmentConfig(operations=(word,))


def test_options_of_a_run_as_one_list():
    """What a preset stands in place of comes first, operations follow; alone the first seven options go their old way."""
    own = {"flip": True, "vertical_flip": True, "scale": (0.5, 2.0), "brightness": 0.1, "contrast": 0.2, "saturation": 0.3}
    listed = (
        Flip(axis=0),
        Flip(axis=1),
        Scale(range=(0.5, 2.0), logarithmic=True),
        Saturation(range=(0.7, 1.3)),
        Contrast(range=(0.8, 1.2)),
        Brightness(range=(0.9, 1.1)),
    )
    assert AugmentConfig(**own, crop=(8, 8)).pipeline is None
    assert AugmentConfig(**own, operations=("cutmix",)).pipeline == Pipeline(operations=(*listed, CutMix()))
    assert AugmentConfig(boundary="mirror").pipeline == Pipeline(boundary="mirror")
    places = {"crop": (8, 8), "foreground": 0.3}
    assert AugmentConfig(flip=True, **places).pipeline == Pipeline(operations=(Flip(axis=1),), **places)
    for name, make in PRESETS.items():
        config = AugmentConfig(**own, preset=name, operations=("elastic(sigma=2)",), crop=(8, 8), boundary="mirror")
        operations = (*make().operations, Elastic(sigma=2))
        assert config.pipeline == Pipeline(operations=operations, crop=(8, 8), boundary="mirror", clip=make().clip)
    assert AugmentConfig(operations=("cutmix",)).mixes and not AugmentConfig(preset="standard").mixes
    with pytest.raises(ValueError, match=r"augment.foreground is 0.5 of the crops, and none are taken; set augment.crop"):
        AugmentConfig(foreground=0.5)


def test_the_package_and_its_function_have_one_name():
    assert augment.__module__ == "fcn.data.augment.batch"
