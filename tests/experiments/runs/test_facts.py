"""A run goes on with the data that it began with, wherever they lie, and with options that change no number."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments import train
from experiments.building.build import load_data
from experiments.configuration.config import DataConfig, ModelConfig, TrainConfig, to_json
from experiments.runs import facts
from experiments.runs.run_folder import RunFolder
from fcn import tasks
from fcn.data.sources.folder import FolderSource
from fcn.preprocessing import default_preprocessing
from fcn.training import OptimizerConfig, make_schedule
from fcn.training.checkpoint import DamagedCheckpoint
from fcn.training.records import read_records, write_json
from tests.experiments.records import lasting

BLACK = np.zeros((24, 32, 3))
FIXTURES = Path(__file__).parents[2] / "fixtures"


def _config(root: Path, **fields) -> TrainConfig:
    return TrainConfig(
        batch_size=8, data=DataConfig("folder", str(root)), model=ModelConfig("unet", options=("depth=1",)), **fields
    )


@pytest.fixture
def begun(folder_data, tmp_path):
    """A run with a checkpoint, and a copy of its data."""
    data = tmp_path / "moved"
    shutil.copytree(folder_data, data)
    folder = RunFolder(tmp_path / "run")
    (folder.checkpoints / "2").mkdir(parents=True)
    (folder.checkpoints / "2" / "_CHECKPOINT_METADATA").touch()
    write_json(folder.config, to_json(_config(folder_data)))
    write_json(folder.facts, train.build(_config(folder_data, overwrite=True), folder)[1])
    return folder, data


def _damage_all(checkpoints: Path) -> None:
    for path in checkpoints.glob("*/state/_METADATA"):
        path.write_text("{}")


def _save(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def _add(data):
    _save(data / "images/train/12.png", BLACK)
    _save(data / "labels/train/12.png", BLACK[..., 0])


def _remove(data):
    for kind in ("images", "labels"):
        (data / kind / "val" / "03.png").unlink()


def _to_gray(data):
    for path in data.glob("images/*/*.png"):
        _save(path, np.full((24, 32), path.stem))


CHANGES = {
    "renamed": (lambda d: _classes(d, "0,floor", "1,disc"), "classes ground, disc -> floor, disc"),
    "swapped": (lambda d: _classes(d, "1,disc", "0,ground"), "classes ground, disc -> disc, ground"),
    "ids": (
        lambda d: _classes(d, "1,ground", "0,disc"),
        r"train: label value 0 has changed \(0 -> 1\); train: label",
    ),
    "more": (_add, "train: images/train/12.png is new; train: labels/train/12.png is new"),
    "less": (_remove, "val: images/val/03.png is missing; val: labels/val/03.png is missing"),
    "other": (
        lambda d: _save(d / "images/val/00.png", BLACK),
        r"val: images/val/00.png has changed \(\d+ -> 81\)",
    ),
    "channels": (_to_gray, r"image shape \[24, 32, 3\] -> \[24, 32, 1\]; train: .*; \d+ more; val: "),
}


def _classes(data, *rows):
    (data / "classes.csv").write_text("\n".join(["id,name", *rows, "7,void"]))


@pytest.mark.parametrize("change", CHANGES)
def test_other_data_are_refused_and_what_differs_is_named(change, begun):
    folder, data = begun
    apply, message = CHANGES[change]
    train.build(_config(data), folder)  # the same data in another place
    apply(data)
    with pytest.raises(ValueError, match=rf"the data are not those of .*data\.json \({message}.*--init .*run it starts"):
        train.build(_config(data), folder)


def test_another_run_s_data_json_is_named(begun):
    folder, data = begun
    shutil.copy(FIXTURES / "old_run" / "data.json", folder.facts)
    with pytest.raises(ValueError, match=r"data\.json \(classes dark, bright -> ground, disc; image shape \[4, 6, 3\] ->"):
        train.build(_config(data), folder)


def test_a_run_of_before_these_facts_goes_on_with_its_own_preprocessing(begun):
    folder, data = begun
    recorded = {name: value for name, value in folder.read_facts().items() if name in ("classes", "palette", "image_shape")}
    write_json(folder.facts, recorded)
    assert train.build(_config(data), folder)[1]["files"]["val"]["images/val/00.png"] > 0
    other = {"mean": [0.1] * 3, "std": [0.5] * 3, "bgr": True, "value_range": None, "size": None}
    write_json(folder.facts, recorded | {"preprocessing": other})
    experiment, found = train.build(_config(data), folder)
    assert found["preprocessing"] == experiment.preprocessing.to_json() == other


@pytest.mark.parametrize("process", [0, 1])
def test_a_run_goes_on_without_data_json_and_the_first_process_says_so(process, begun, monkeypatch, capsys):
    monkeypatch.setattr("jax.process_index", lambda: process)
    folder, data = begun
    wanted = folder.read_facts()
    folder.facts.unlink()
    assert train.build(_config(data), folder)[1] == wanted
    assert (f"without {folder.facts} nothing tells" in capsys.readouterr().err) == (process == 0)


def test_label_values_are_colours_where_labels_are(begun):
    _, data = begun
    for path in data.glob("labels/*/*.png"):
        Image.open(path).convert("RGB").point([0] * 768).save(path)
    (data / "classes.csv").write_text("id,name,r,g,b\n0,ground,0,0,0\n1,disc,240,180,40\n7,void,9,9,9\n")
    values = train.build(_config(data), RunFolder(data / "none"))[1]["label_values"]["val"]
    assert values == {"(0, 0, 0)": 0, "(240, 180, 40)": 1, "(9, 9, 9)": 255}


def test_parts_of_a_split_tell_the_files_of_the_whole(begun):
    folder, data = begun
    config = _config(data)
    part = replace(config, data=replace(config.data, val="val[:2]"))
    assert train.build(part, RunFolder(data / "none"))[1]["files"] == folder.read_facts()["files"]


def test_a_run_goes_on_with_the_samples_that_it_left_out(begun, monkeypatch):
    """A file that cannot be read now and then moves the numbers of others; files are as they were."""
    folder, data = begun
    config = _config(data)
    config = replace(config, data=replace(config.data, skip_bad=True))
    write_json(folder.facts, train.build(config, RunFolder(data / "none"))[1])
    assert train.build(config, folder)[1]["left_out"] == {"train": [], "val": []}
    verify = FolderSource.verify

    def unanswered(source, index):
        if source.images[index] == data / "images" / "train" / "03.png":
            raise OSError("the disk did not answer")
        return verify(source, index)

    monkeypatch.setattr(FolderSource, "verify", unanswered)
    with pytest.raises(ValueError, match=r"samples that are left out .*'train': \[\].* -> .*'train': \[3\]"):
        train.build(config, folder)


def test_generated_data_have_no_sizes_to_compare(begun):
    """A folder of the same name has."""
    _, data = begun
    split = load_data(DataConfig("folder", str(data.rename(data.with_name("shapes")))), "train")
    task = tasks.make("semantic", split.classes)
    for name, count in (("shapes", 0), ("folder", 24)):
        files = facts.describe(DataConfig(name), split, split, default_preprocessing(3), task)["files"]["train"]
        assert len(files) == count


@pytest.mark.parametrize(
    ("new", "message"),
    [
        (
            {"steps": 12},
            r"\(steps: 10 -> 12\); choose --extend to go on to more steps, another --workdir \(with --init",
        ),
        ({"steps": 8, "extend": True}, r"\(steps: 10 -> 8\); choose another --workdir"),
        ({"steps": 12, "seed": 1, "extend": True}, r"\(seed: 0 -> 1\); choose another --workdir"),
        ({"steps": 12, "extend": True, "log_every": 3, "eval_every": 4, "checkpoint_every": 5, "workdir": "elsewhere"}, None),
    ],
)
def test_what_changes_the_numbers_is_refused(new, message, begun):
    folder, data = begun
    write_json(folder.config, to_json(_config(data, steps=10)))
    config = _config(data.with_name("elsewhere"), **new)
    if message is None:
        folder.refuse_other(config)
    else:
        with pytest.raises(FileExistsError, match=message):
            folder.refuse_other(config)


def test_a_damaged_checkpoint_other_habits_and_moved_data_change_no_number(
    finished_run, folder_data, options, type_command, tmp_path
):
    """The checkpoint before the damaged one, which is named, is used."""
    run, data = tmp_path / "run", tmp_path / "data"
    shutil.copytree(finished_run, run)
    shutil.copytree(folder_data, data)
    wanted = json.loads((run / "result.json").read_text())["params_sha256"]
    (run / "result.json").unlink()
    (run / "checkpoints" / "24" / "state" / "_METADATA").write_text("{}")
    habits = "--log-every 1 --eval-every 24 --checkpoint-every 3".split()
    done = type_command("experiments.train", *options, *habits, "--workdir", run, "--data.root", data)
    assert done.returncode == 0, done.stderr
    assert "24 is damaged: state/_METADATA is not what was written; that of step 20 is used" in done.stderr
    assert f"continuing {run} from step 20" in done.stdout
    assert json.loads((run / "result.json").read_text())["params_sha256"] == wanted
    assert json.loads((run / "config.json").read_text())["data"]["root"] == str(data)
    before, after = lasting(finished_run), lasting(run)
    assert [record for record in after if record in before] == before
    assert [record["step"] for record in after if record not in before] == [21, 23]


@pytest.mark.parametrize(
    ("harm", "message"),
    [(shutil.rmtree, "has no checkpoint to go on from to 26 steps"), (_damage_all, "is not what was written")],
)
def test_a_finished_run_that_cannot_be_extended_stays_as_it_is(harm, message, finished_run, options, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    harm(run / "checkpoints")
    with pytest.raises((FileExistsError, DamagedCheckpoint), match=message):
        train.main([*options, "--workdir", str(run), "--steps", "26", "--extend"])
    for name in ("config.json", "result.json", "metrics.jsonl"):
        assert (run / name).read_bytes() == (finished_run / name).read_bytes()


def test_an_extended_run_goes_on_by_the_schedule_of_its_new_length(finished_run, options, monkeypatch, tmp_path):
    class Begun(Exception):
        pass

    def fit(state, batches, *, learning_rate, schedule, **_):
        raise Begun(int(state.step), batches.get_state(), schedule.steps, learning_rate(24))

    monkeypatch.setattr("fcn.training.fit", fit)
    run, gone = tmp_path / "run", str(tmp_path / "gone.npz")
    shutil.copytree(finished_run, run)
    config = RunFolder(run).read_config()
    write_json(run / "config.json", to_json(replace(config, init=gone)))  # which is not read again
    with pytest.raises(Begun) as begun:
        train.main([*options, "--workdir", str(run), "--steps", "26", "--extend", "--init", gone])
    rate = make_schedule(OptimizerConfig(learning_rate=0.02), 26)(24)
    assert begun.value.args == (24, {"next_batch": 24}, 26, rate)
    assert not (run / "result.json").exists()  # it is not finished
    assert json.loads((run / "config.json").read_text())["steps"] == 26
    assert len(read_records(run / "metrics.jsonl")) == len(read_records(finished_run / "metrics.jsonl"))
