"""Numbers on the command line: each has a range, and what is outside is told in one sentence before anything is done."""

import dataclasses
import typing

import pytest

from experiments import convert, evaluate, predict, train
from experiments.benchmark.__main__ import BenchmarkConfig
from experiments.configuration.config import ModelConfig, TrainConfig, changes, from_json, to_json
from experiments.pointwise import Options
from fcn.ranges import Range, _pieces


def _fields(cls: type, prefix: str = ""):
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        if dataclasses.is_dataclass(hint):
            yield from _fields(hint, f"{prefix}{name}.")
        else:
            yield prefix + name, list(_pieces(hint))


@pytest.mark.parametrize(
    "cls", [TrainConfig, evaluate.EvaluateConfig, predict.PredictConfig, convert.ConvertConfig, BenchmarkConfig, Options]
)
def test_every_number_has_a_range(cls):
    fields = dict(_fields(cls))
    without = [name for name, pieces in fields.items() if {int, float} & {p for p in pieces if isinstance(p, type)}]
    without = [name for name in without if not any(isinstance(piece, Range) for piece in fields[name])]
    assert [name for name in without if name != "claims"] == []  # checked by a table


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--steps 99999999999999999999", "steps is 99999999999999999999; it must be at least 1 and at most 2147483647"),
        ("--steps 0", "steps is 0; it must be at least 1"),
        ("--seed -1", "seed is -1; it must be at least 0 and at most 4294967295"),
        ("--seed 4294967296", "seed is 4294967296; it must be at least 0 and at most 4294967295"),
        ("--batch-size 99999999", "batch_size is 99999999; it must be at least 1 and at most 1048576"),
        ("--log-every 0", "log_every is 0; it must be at least 1"),
        ("--ema nan", "ema is nan; it must be a finite number, at least 0 and below 1"),
        ("--loss.dice nan", "loss.dice is nan; it must be a finite number, at least 0"),
        ("--loss.auxiliary inf", "loss.auxiliary is inf; it must be a finite number, at least 0"),
        ("--optim.learning-rate inf", "learning_rate is inf; it must be a finite number, above 0"),
        ("--optim.weight-decay -1", "weight_decay is -1.0; it must be at least 0"),
        ("--data.size 0 64", "data.size is (0, 64); it must be at least 1 and at most 65536"),
        ("--hosts.count 2 --hosts.index 2", "hosts.index is 2; of 2 processes it is one of 0 to 1"),
    ],
)
def test_train_refuses_numbers_without_meaning(args, message, capsys):
    with pytest.raises(SystemExit) as ended:
        train.parse(args.split())
    assert ended.value.code == 2 and message in _told(capsys)


@pytest.mark.parametrize("args", ["--batch-size 0", "--size 0 8", "--size 99999999 8"])
def test_evaluate_refuses_numbers_without_meaning(args, tmp_path, capsys):
    with pytest.raises(SystemExit):
        evaluate.main([str(tmp_path), *args.split()])
    assert "it must be at least 1 and at most" in _told(capsys)


def _told(capsys) -> str:
    """What stands on stderr, without the box around it."""
    printed = capsys.readouterr()
    return " ".join((printed.out + printed.err).replace("│", " ").split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("depth=NaN", "model option 'depth=NaN': NaN is no number from -3.4e+38 to 3.4e+38"),
        ("dropout_rate=-Infinity", "model option 'dropout_rate=-Infinity': -Infinity is no number from -3.4e+38 to 3.4e+38"),
        ("dropout_rate=1e400", "model option 'dropout_rate=1e400': 1e400 is no number from -3.4e+38 to 3.4e+38"),
        ("depth=4294967296", "model option 'depth=4294967296': 4294967296 is no number from -2.14748e+09 to 2.14748e+09"),
        (f"depth={'9' * 5000}", f"model option 'depth={'9' * 33}…': {'9' * 39}… is no number from -2.14748e+09 to 2.14748e+09"),
        ("depth=2 depth=3", "model option depth is given more than once"),
        ('aux={"a":1,"a":2}', 'model option \'aux={"a":1,"a":2}\': a is given more than once'),
        (f"depth={'[' * 10**5}", f"model option 'depth={'[' * 33}…': lists are nested too deeply"),
        ("depth", "model option 'depth' is not of the form name=value, such as base_features=32"),
        ("=3", "model option '=3' is not of the form name=value, such as base_features=32"),
        ("\x1b[2J=3", r"model option '\x1b[2J=3' is not of the form name=value, such as base_features=32"),
        ("parent=3", "model option 'parent' is no option: --model.encoder sets the encoder, the run sets the rest"),
    ],
)
def test_odd_options_of_a_model_are_refused(options, message):
    with pytest.raises(ValueError) as caught:
        ModelConfig(options=tuple(options.split())).keywords()
    assert str(caught.value) == message


def test_options_of_a_model_are_json_or_words():
    config = ModelConfig(options=("depth=2", "rate=0.5", "a=null", "b=true", "c=[1,[2]]", 'd={"e":-1}', "f=bfloat16", "g=[1,"))
    expected = {"depth": 2, "rate": 0.5, "a": None, "b": True, "c": [1, [2]], "d": {"e": -1}, "f": "bfloat16", "g": "[1,"}
    assert config.keywords() == expected


def test_a_configuration_of_before_has_no_preset_of_augmentation():
    config = train.parse(["camvid_unet", "--data.root", "x"])
    values = to_json(config)
    older = {
        name: value
        for name, value in values["augment"].items()
        if name not in ("preset", "operations", "foreground", "boundary")
    }
    assert changes(from_json(values | {"augment": older}), config) == []
    other = train.parse("camvid_unet --data.root x --augment.preset nnunet --augment.foreground 0.33".split())
    assert other.augment.pipeline.crop == config.augment.crop == (128, 192) and len(changes(config, other)) == 2
