"""`train auto`: what it says and writes, what flags change, and how it goes on; the time of a step is given here."""

import functools
import json

import jax
import pytest

from experiments import train
from experiments.auto import prepare
from experiments.auto.budget import length
from experiments.auto.config import AutoConfig
from experiments.auto.prepare import resumed
from experiments.configuration.config import to_json
from experiments.reports.rehearsal import Timed
from experiments.runs.run_folder import RunFolder


@pytest.fixture
def step_of_a_second(monkeypatch):
    asked = []
    monkeypatch.setattr(prepare, "begun", lambda experiment: asked.append(experiment.config) or (None, None))
    monkeypatch.setattr(prepare, "timed", lambda *_: Timed(10.0, 1.0, 2**20, 2**20))
    return asked


def command_line(folder_data, *more):
    return ["auto", "--data.root", str(folder_data), "--dry-run", *more]


def test_a_dry_run_writes_the_plan_and_what_the_budget_makes_of_it(folder_data, step_of_a_second, tmp_path, capsys):
    file = tmp_path / "plan.json"
    train.main(command_line(folder_data, "--json", str(file), "--workdir", str(tmp_path / "run"), "--budget", "10m"))
    told, said = json.loads(file.read_text()), capsys.readouterr().out
    assert told["plan"] | {"patch": [24, 32], "batch_size": 2, "stages": 3} == told["plan"]
    run = told["run"]
    assert run["batch_size"] == jax.device_count()  # of which batches are multiples
    assert run["patch"] == [24, 32] and run["config"]["data"]["channels"] == 3
    assert 400 < run["steps"] < 540 and run["step_seconds"] == 1.0 and run["config"]["steps"] == run["steps"]
    assert f"  steps {run['steps']}: a step takes 1.00 s, its compilation 10 s" in said
    assert "  patch 24x32: each image is 24x32; as much of it as goes into 8 GB, in 2 poolings\n" in said
    assert not (tmp_path / "run").exists()
    with pytest.raises(FileExistsError, match=r"plan\.json exists already; give another --json"):
        train.main(command_line(folder_data, "--json", str(file)))


def test_what_is_given_holds(folder_data, step_of_a_second, monkeypatch, tmp_path, capsys):
    file, reckoned = tmp_path / "plan.json", []
    monkeypatch.setattr(prepare, "length", lambda rung, *rest: reckoned.append(rung) or length(rung, *rest))
    monkeypatch.setattr("experiments.auto.fingerprint.is_gray", lambda image: True)
    given = "--steps 400 --batch-size 16 --model.name fcn8s --model.encoder vgg11_bn --optim.learning-rate 0.5 "
    given += "--accumulate 2 --data.crop 16 24 --loss.terms focal --augment.brightness 0.3 --data.channels 3 --json"
    train.main(command_line(folder_data, *given.split(), str(file)))
    run, said = json.loads(file.read_text())["run"], capsys.readouterr().out
    config = run["config"]
    assert (reckoned[0].batch, reckoned[0].patch, run["patch"]) == (32, (16, 24), [16, 24])
    assert (config["steps"], config["batch_size"], config["optim"]["learning_rate"]) == (400, 16, 0.5)
    assert (config["loss"]["terms"], config["augment"]["brightness"], config["augment"]["flip"]) == ("focal", 0.3, True)
    assert config["model"] == {"name": "fcn8s", "encoder": "vgg11_bn", "options": []}
    assert config["optim"]["schedule"] == "poly"
    assert (config["data"]["channels"], config["data"]["normalise"]) == (3, "weights")
    for line in ("batch 16: as given", "network fcn8s vgg11_bn: as given", "optimizer adamw at 0.5: as given"):
        assert f"  {line}\n" in said
    assert step_of_a_second[0].batch_size == 16  # what is timed is what will run


def test_batches_are_halved_until_they_fit_into_the_memory(folder_data, step_of_a_second, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(prepare, "timed", lambda *_: Timed(10.0, 1.0, 2**20, 9 * 10**9))
    train.main(command_line(folder_data, "--mesh.data", "1", "--json", str(tmp_path / "plan.json")))
    assert [config.batch_size for config in step_of_a_second] == [2, 1]
    assert "warning: a step takes 9.0 GB of each device, --memory is 8 GB; a smaller --batch-size" in capsys.readouterr().err


def test_what_fits_into_the_memory_is_not_left_for_what_does_not(folder_data, step_of_a_second, monkeypatch, tmp_path, capsys):
    """Though there is time for more."""
    file, memory = tmp_path / "plan.json", {2: 9 * 10**9, 1: 10**9}
    monkeypatch.setattr(prepare, "timed", lambda *_: Timed(10.0, 0.001, 0, memory[step_of_a_second[-1].batch_size]))
    train.main(command_line(folder_data, "--mesh.data", "1", "--json", str(file)))
    assert [config.batch_size for config in step_of_a_second] == [2, 1]
    assert json.loads(file.read_text())["run"]["batch_size"] == 1 and "of each device" not in capsys.readouterr().err


def test_a_run_goes_on_with_its_own_plan(folder_data, tmp_path):
    folder = RunFolder(tmp_path)
    kept = AutoConfig(steps=77, batch_size=3).run()
    folder.config.write_text(json.dumps(to_json(kept)))
    folder.result.write_text('{"steps": 77, "seconds": 1.0}')
    rest = ["--data.root", str(folder_data), "--budget", "9m"]
    asked = train.parse(["auto", *rest])
    override = functools.partial(train.read, rest=rest)
    with pytest.raises(FileExistsError, match="holds a run that is not auto's; choose another --workdir, or --overwrite"):
        resumed(asked, override, folder)
    folder.plan.write_text('{"budget": "9m", "memory": "8GB"}')
    config = resumed(asked, override, folder)
    assert (config.steps, config.batch_size, config.data.root) == (77, 3, str(folder_data))
    assert folder.plan in folder.files()
    folder.plan.write_text('{"budget": "20m", "memory": "8GB"}')
    with pytest.raises(FileExistsError, match="holds a run that was planned for --budget 20m, not 9m; choose another"):
        resumed(asked, override, folder)
    folder.plan.write_text('{"budget": 20}')
    with pytest.raises(ValueError, match=r"plan\.json is damaged: budget is 20; it must be str; delete it"):
        resumed(asked, override, folder)


def test_a_folder_that_is_no_run_s_is_refused_before_anything_is_timed(folder_data, step_of_a_second, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FileExistsError, match=r"config\.json is not that of a run; choose another --workdir"):
        train.main(["auto", "--data.root", str(folder_data), "--workdir", str(tmp_path)])
    assert not step_of_a_second


def test_an_unknown_preset_is_answered_with_auto_among_the_known():
    with pytest.raises(ValueError, match="unknown preset 'aut'; did you mean 'auto'"):
        train.parse(["aut"])
