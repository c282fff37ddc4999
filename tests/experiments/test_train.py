"""`python -m experiments.train` as a user types it: what it leaves behind, and that a kill changes nothing."""

import dataclasses
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path
from unittest.mock import Mock

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import command, predict, train
from experiments.building.build import Experiment, _loss
from experiments.building.optimization import frozen_parts
from experiments.building.trained import make_model, restore
from experiments.configuration.config import (
    DataConfig,
    LossConfig,
    MeshConfig,
    ModelConfig,
    TrainConfig,
    differences,
    from_json,
    to_json,
)
from experiments.configuration.presets import PRESETS
from experiments.runs.run_folder import RunFolder
from fcn.parallel import Sharded
from fcn.training import NonFiniteLossError, OptimizerConfig, checkpoint
from fcn.training.records import read_records
from tests.experiments.records import lasting

ROOT = Path(__file__).resolve().parents[2]
ONE = ("--mesh.data", "1")  # of eight devices, which compiles and runs sooner


def test_a_run_folder_holds_what_the_readme_says(finished_run):
    records = read_records(finished_run / "metrics.jsonl")
    trained = [r["step"] for r in records if "train/loss" in r]
    evaluated = [r for r in records if "val/miou" in r]
    assert trained == list(range(2, 25, 2))
    assert [r["step"] for r in evaluated] == [6, 12, 18, 24]
    names = {"step", "train/loss", "train/grad_norm", "train/learning_rate", "train/images_per_second"}
    assert all(set(r) == names for r in records if "train/loss" in r)
    last = evaluated[-1]
    np.testing.assert_allclose(last["val/miou"], (last["val/iou/ground"] + last["val/iou/disc"]) / 2, rtol=1e-12)
    assert last["val/miou"] > 0.8  # bright discs on dark ground
    losses = [r["val/loss"] for r in evaluated]
    assert 0 < losses[-1] < losses[0]
    result = json.loads((finished_run / "result.json").read_text())
    assert result["steps"] == 24
    assert result["seconds"] > 0
    assert len(result["params_sha256"]) == 64
    assert {k: v for k, v in result.items() if k.startswith("val/")} == {k: v for k, v in last.items() if k.startswith("val/")}
    assert from_json(json.loads((finished_run / "config.json").read_text())).steps == 24
    for picture in ("validation", "curves", "confusion"):
        with Image.open(finished_run / "pictures" / f"{picture}.png") as opened:
            assert min(opened.size) > 100
    board = finished_run / "tensorboard"
    assert b"train/loss" in b"".join(path.read_bytes() for path in board.glob("events.*"))
    assert b"".join(path.read_bytes() for path in (board / "pictures").iterdir()).count(b"val/examples") == 4
    assert sorted(int(p.name) for p in (finished_run / "checkpoints").iterdir() if p.name.isdigit())[-2:] == [20, 24]


@pytest.mark.parametrize(
    ("sums", "loss"),
    [([[6, 2], [1, 4]], 3.25), ([[6, 2], [0, 0]], None), ([[np.nan, 1]], None), ([[np.inf, 1]], None)],
)
def test_a_loss_of_the_validation_split_is_finite_or_none(sums, loss):
    """NaN in result.json would make it one that is refused when it is read."""
    assert _loss(np.array(sums, float)) == loss


def test_killed_at_two_random_moments_a_run_ends_the_same(finished_run, options, environment, type_command, tmp_path):
    run = tmp_path / "killed"
    command = [sys.executable, "-m", "experiments.train", *options, "--workdir", str(run)]
    for lines in sorted(random.sample(range(1, 15), 2)):
        # Killed a moment after so many lines are written; the moments differ from run to run of this test.
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 300
        while process.poll() is None and time.monotonic() < deadline:
            if len(read_records(run / "metrics.jsonl")) >= lines:
                time.sleep(random.uniform(0, 0.2))
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.005)
        process.wait(60)
        assert process.returncode in (-signal.SIGKILL, 0)
    done = type_command("experiments.train", *options, "--workdir", run)
    assert done.returncode == 0, done.stderr
    assert lasting(run) == lasting(finished_run)
    digests = [json.loads((r / "result.json").read_text())["params_sha256"] for r in (run, finished_run)]
    assert digests[0] == digests[1]


def test_where_the_best_checkpoint_is_damaged_or_none_is_the_best_the_last_is_named(finished_run, tmp_path):
    run = RunFolder(tmp_path / "run")
    shutil.copytree(finished_run, run.path)
    (run.checkpoints / str(checkpoint.best(run.checkpoints)) / "state" / "_METADATA").write_text("{}")
    with pytest.raises(checkpoint.DamagedCheckpoint, match=r"_METADATA is not what was written; .* take --checkpoint last"):
        restore(run, "best")
    for measured in run.checkpoints.glob("*/metrics/metrics"):
        measured.unlink()
    with pytest.raises(FileNotFoundError, match="has a value of val/miou; take --checkpoint last"):
        restore(run, "best")


def test_where_a_training_removes_a_checkpoint_that_is_read_a_later_one_is(finished_run, tmp_path, monkeypatch):
    run, read = RunFolder(tmp_path / "run"), checkpoint.restore
    shutil.copytree(finished_run, run.path)
    old, new = checkpoint.steps(run.checkpoints)[-2:]
    (run.checkpoints / str(new)).rename(tmp_path / "new")

    def overtaken(folder, step, template, **options):
        if step == old:
            shutil.rmtree(folder / str(old))
            (tmp_path / "new").rename(folder / str(new))
        return read(folder, step, template, **options)

    monkeypatch.setattr(checkpoint, "restore", overtaken)
    assert restore(run).step == new


def test_a_finished_run_prints_its_result(finished_run, options, capsys):
    before = (finished_run / "result.json").read_bytes()
    train.main([*options, "--workdir", str(finished_run)])
    assert "validation mIoU" in capsys.readouterr().out
    assert (finished_run / "result.json").read_bytes() == before


def test_another_configuration_is_refused_and_overwrite_spares_what_the_user_made(finished_run, options, tmp_path):
    run = tmp_path / "copy"
    shutil.copytree(finished_run, run)
    changed = [*options, *ONE, "--workdir", str(run), "--seed", "3"]
    with pytest.raises(FileExistsError, match="seed: 0 -> 3"):
        train.main(changed)
    assert (run / "result.json").exists()
    (run / "notes.txt").write_text("mine")
    (run / "pictures" / "mine.png").write_text("mine")
    train.main([*changed, "--steps", "2", "--overwrite"])
    assert (run / "notes.txt").read_text() == (run / "pictures" / "mine.png").read_text() == "mine"
    assert json.loads((run / "result.json").read_text())["steps"] == 2
    assert [r["step"] for r in read_records(run / "metrics.jsonl")] == [2, 2]


def test_a_folder_of_something_else_is_not_touched(options, tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "curves.png").write_text("mine")
    with pytest.raises(FileExistsError, match=r"curves\.png is there, but no config\.json"):
        train.main([*options, "--workdir", str(tmp_path), "--overwrite"])
    assert [p.name for p in tmp_path.iterdir()] == ["pictures"]


@pytest.mark.parametrize(
    ("typed", "status", "told"),
    [
        ("shapes_unt", 1, r"^error: unknown preset 'shapes_unt'; did you mean 'shapes_unet'\?"),
        ("--step 3", 2, "--steps"),
    ],
)
def test_a_wrong_command_line_is_answered_with_the_nearest_right_one(typed, status, told, capsys):
    with pytest.raises(SystemExit) as ended:
        command.run(lambda: train.main(typed.split()))
    assert ended.value.code == status
    assert re.search(told, capsys.readouterr().err)


def test_mistakes_are_told_before_anything_is_written(options, folder_data, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(FileNotFoundError, match="discz"):
        train.main([*options, "--workdir", str(run), "--data.root", str(folder_data.with_name("discz"))])
    with pytest.raises(ValueError, match="a batch of 12 does not divide by the 8 devices; the nearest that do: 8 or 16"):
        train.main([*options, "--workdir", str(run), "--batch-size", "12"])
    with pytest.raises(ValueError, match=r"mesh\.height 5 does not divide the 24 rows of the images"):
        train.main([*options, "--workdir", str(run), "--mesh.data", "1", "--mesh.height", "5"])
    with pytest.raises(ValueError, match=r"discs is a folder of images; to use them give --data\.name folder as well"):
        train.main(["--workdir", str(run), "--data.root", str(folder_data)])
    with pytest.raises(ValueError, match=r"did you mean .base_features.\? \(--model.options base_feature=4\)"):
        train.main([*options, "--workdir", str(run), "--model.options", "base_feature=4"])
    with pytest.raises(ValueError, match="unknown part of the network 'encoder'; did you mean 'encoder0'"):
        train.main([*options, "--workdir", str(run), "--freeze", "encoder"])
    with pytest.raises(ValueError, match="encoder_rate and layer_decay are for networks with an encoder"):  # when it is traced
        train.main([*options, "--workdir", str(run), "--optim.encoder-rate", "0.1"])
    valid = ["--model.name", "unet2015", "--model.options", "base_features=2", "depth=1", "--augment.crop", "5", "5"]
    with pytest.raises(ValueError, match="unet2015"):  # found when the step is traced
        train.main([*options, "--workdir", str(run), *valid])
    broken = tmp_path / "broken"
    shutil.copytree(folder_data, broken)
    Image.fromarray(np.full((24, 32), 5, np.uint8)).save(broken / "labels" / "train" / "03.png")
    with pytest.raises(ValueError, match=r"03.*5"):
        train.main([*options, "--workdir", str(run), "--data.root", str(broken)])
    assert not run.exists()


def test_a_loss_that_is_not_finite_stops_the_run_names_the_step_and_leaves_the_run_of_before(finished_run, options, tmp_path):
    def files():
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != ".fcn-lock"}

    shutil.copytree(finished_run, tmp_path / "run")
    before = files()
    run = [*options, *ONE, "--workdir", str(tmp_path / "run"), "--overwrite"]
    wild = [*run, "--optim.name", "sgd", "--optim.learning-rate", "1e30"]
    with pytest.raises(NonFiniteLossError, match=r"step \d+: .*(nan|inf).*no checkpoint was written") as caught:
        train.main(wild)
    assert "Go on from it" not in str(caught.value)  # there is nothing to go on from
    assert files() == before
    (tmp_path / "run" / "checkpoints" / "7.notes").mkdir()
    train.main([*run, "--steps", "2"])
    assert (tmp_path / "run" / "checkpoints" / "7.notes").is_dir()


def test_patience_ends_a_run_which_says_so(options, capsys, tmp_path, monkeypatch):
    run = [*options, *ONE, "--workdir", str(tmp_path / "run")]
    with pytest.raises(ValueError, match="unknown value of an evaluation: 'val/mio'; did you mean 'val/miou'"):
        train.main([*run, "--best", "val/mio"])
    monkeypatch.setattr(Experiment, "evaluation", lambda *_: {"val/miou": 0.5, "val/pixel_accuracy": 0.75})
    for _ in range(2):  # trained, and finished
        train.main([*run, "--best", "val/pixel_accuracy", "--patience", "1"])
        assert "it ended early: val/pixel_accuracy was not better in the last evaluation" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "result.json").read_text())["steps"] == 12
    assert checkpoint.steps(tmp_path / "run" / "checkpoints")[-2:] == [8, 12]


def test_options_out_of_range_are_refused():
    for wrong, message in (
        (lambda: DataConfig(channels=65), "data.channels is 65; it must be at least 1 and at most 64"),
        (lambda: DataConfig(size=(0, 8)), "data.size is .0, 8.; it must be at least 1"),
        (lambda: LossConfig(dice=-3.0), "loss.dice is -3.0; it must be at least 0"),
        (lambda: LossConfig(label_smoothing=1.0), "loss.label_smoothing is 1.0; it must be at least 0 and below 1"),
        (lambda: OptimizerConfig(weight_decay=-1.0), "weight_decay is -1.0; it must be at least 0"),
        (lambda: ModelConfig(options=("encoder=vgg11",)).keywords(), "model option 'encoder' is no option: --model.encoder"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()
    assert DataConfig(root="somewhere").root == str(Path.cwd() / "somewhere")


def test_a_run_of_valid_convolutions_ends_and_predicts_any_size(options, folder_data, tmp_path, monkeypatch):
    """The panels and masks cover the images, though the logits are smaller than what the network sees."""
    run, collected = tmp_path / "run", []
    monkeypatch.setattr(Sharded, "whole", lambda _, state: collected.append(len(jax.tree.leaves(state))) or state)
    small = ["--model.name", "unet2015", "--model.options", "base_features=2", "depth=1", "--steps", "2"]
    train.main([*options, *small, "--workdir", str(run)])
    assert (run / "result.json").is_file() and (run / "pictures" / "validation.png").is_file()
    of_evaluation, of_report = collected
    assert of_report == 2 * of_evaluation + 1  # the parameters beside their average, and the step; no moments
    predict.main([str(run), str(folder_data / "images/val/00.png"), "--out", str(tmp_path / "out")])
    with Image.open(tmp_path / "out" / "00_mask.png") as mask:
        assert mask.size == (32, 24)


def test_the_encoder_is_frozen_whatever_it_is_called():
    config = TrainConfig(freeze=("encoder", "head/scale"), unfreeze_after=3)
    model = make_model(dataclasses.replace(config, model=ModelConfig("lraspp")), 2)
    assert frozen_parts(config, model) == {"frozen": ("backbone", "head/scale"), "unfreeze_after": 3}
    with pytest.raises(ValueError, match="unfreeze_after is 3, but nothing is frozen; name it: --freeze encoder"):
        TrainConfig(unfreeze_after=3)


def test_a_tracker_gets_what_the_file_gets(monkeypatch, tmp_path):
    run, wandb = RunFolder(tmp_path), types.SimpleNamespace(init=Mock())
    run.tensorboard = None
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    with train.open_records(TrainConfig(tracker="wandb"), run, 0) as records:
        records.write(1, {"train/loss": 0.5})
    assert read_records(run.metrics) == [{"step": 1, "train/loss": 0.5}]
    wandb.init.return_value.log.assert_called_once_with({"train/loss": 0.5}, step=1)
    assert wandb.init.call_args.kwargs["config"]["optim.name"] == "adamw"
    assert run.tracker in RunFolder(tmp_path).files()


def test_the_devices_of_the_mesh_are_told():
    config, parallel = TrainConfig(mesh=MeshConfig(data=2, height=3)), types.SimpleNamespace(size=2)
    split = Mock(classes=("a",), __len__=lambda _: 4)
    experiment = types.SimpleNamespace(config=config, parallel=parallel, train=split)
    state = types.SimpleNamespace(params={"kernel": np.zeros((100, 200))})
    assert (
        Experiment.describe(experiment, state)
        == f"unet, 0.02 M parameters; 4 images of shapes, 1 classes; 6 {jax.default_backend()} device(s)"
    )


def test_presets_are_sound_and_survive_json():
    for name, (_, _, preset, *_) in PRESETS.items():
        assert preset.preset == name
        assert from_json(json.loads(json.dumps(to_json(preset)))) == preset
    assert differences(to_json(TrainConfig()), to_json(TrainConfig(seed=1, steps=5))) == ["seed: 0 -> 1", "steps: 1000 -> 5"]
    assert to_json(TrainConfig(workdir="elsewhere", overwrite=True)) == to_json(TrainConfig())


@pytest.mark.parametrize(
    ("args", "model", "said"),
    [
        ("", ModelConfig("unet", None, ("base_features=16", "depth=3", "stem_stride=2")), None),
        ("--model.name deeplabv3plus", ModelConfig("deeplabv3plus"), "base_features=16 depth=3 stem_stride=2"),
        ("--model.encoder resnet18", ModelConfig("unet", "resnet18"), "base_features=16 depth=3 stem_stride=2"),
        ("--model.name fpn --model.options upsampling=1", ModelConfig("fpn", None, ("upsampling=1",)), None),
        ("--model.encoder=resnet18 --model.options depth=3", ModelConfig("unet", "resnet18", ("depth=3",)), None),
    ],
)
def test_another_model_leaves_the_preset_s_options_out_and_says_so(args, model, said, capsys):
    assert train.parse(["shapes_unet", *args.split()]).model == model
    assert capsys.readouterr().out == ("" if said is None else f"another network than the preset's; left out of it: {said}\n")


def test_another_model_leaves_the_preset_s_encoder_out():
    assert train.parse(["shapes_fcn8s", "--model.name", "unet"]).model == ModelConfig("unet")
    assert train.parse(["shapes_fcn8s", "--model.name", "unet", "--model.encoder", "vgg11_bn"]).model.encoder == "vgg11_bn"


def test_help_explains_every_option(capsys):
    with pytest.raises(SystemExit) as ended:
        train.main(["--help"])
    assert not ended.value.code
    told = capsys.readouterr().out
    for option in ("--workdir", "--seed", "--steps", "--batch-size", "--eval-every", "--parallel", "--data.root"):
        assert option in told
    assert "camvid_unet" in told
