"""A run of each task, from files to files: trained, measured, kept, and used for prediction."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

import fcn
from experiments import convert, evaluate, predict, train
from experiments.building.networks import Network, with_task_options
from experiments.building.objective import loss_terms
from experiments.configuration.config import LossConfig, TrainConfig, from_json, to_json
from fcn.losses import Term
from fcn.pretrained.saving import load_task
from tests.variables import random_variables

# Small networks, few steps, no more records than are read.
SHORT = (
    "--steps 80 --batch-size 8 --eval-every 80 --checkpoint-every 80 --log-every 40 --optim.learning-rate 0.1 "
    "--model.options base_features=4 depth=1 --data.name folder --augment.flip"
).split()


@pytest.fixture(scope="module")
def data(folder_data, tmp_path_factory):
    """The discs with labels for each task: class numbers, masks in folders, values, objects; void is known nowhere."""
    root = {"binary": folder_data} | {task: tmp_path_factory.mktemp(task) for task in ("multilabel", "regression", "boundary")}
    for path in sorted(folder_data.glob("labels/*/*.png")):
        label = np.asarray(Image.open(path))
        place = path.relative_to(folder_data).with_suffix("")
        (root["regression"] / place.parent).mkdir(parents=True, exist_ok=True)
        np.save(root["regression"] / f"{place}.npy", np.where(label == 7, np.nan, 5.0 + 3 * label))
        (root["multilabel"] / place).mkdir(parents=True, exist_ok=True)
        for name, mask in (("disc", label == 1), ("any", label < 7), ("void", label == 7)):
            Image.fromarray(mask).save(root["multilabel"] / place / f"{name}.png")
        file = root["boundary"] / "instances" / place.relative_to("labels")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.where(label == 1, 300, 0).astype(np.uint16)).save(f"{file}.png")
    for task in ("multilabel", "regression", "boundary"):
        shutil.copytree(folder_data / "images", root[task] / "images")
    return root


FILES = {
    "binary": ["mask.png", "overlay.png", "probability.png"],
    "multilabel": ["mask_any.png", "mask_disc.png", "overlay.png"],
    "regression": ["values.npy", "values.png"],
    "boundary": ["instances.tif", "objects.csv", "overlay.png"],
}
FACTS = {
    "binary": {"threshold": 0.5},
    "multilabel": {"threshold": 0.5},
    "regression": None,
    "boundary": {"min_size": 2, "split": 0.25},
}
BEST = {"binary": "miou", "multilabel": "miou", "regression": "mae", "boundary": "ap"}
GOOD = {
    "binary": lambda result: result["val/miou"] > 0.7,
    "multilabel": lambda result: result["val/iou/disc"] > 0.5 and result["val/iou/any"] == 1,
    "regression": lambda result: result["val/rmse"] < 0.7,  # 1.0 is the deviation
    "boundary": lambda result: result["val/ap50"] > 0.5,
}


MORE = {
    "binary": ["--augment.operations", "cutmix(probability=0.5)", "rotate(degrees=20)"],
    "boundary": ["--task-options", "min_size=2"],
}


@pytest.mark.parametrize("task", FILES)
def test_a_run_is_kept_measured_and_predicts(task, data, tmp_path, capsys):
    """What is learnt, recorded and measured; the same numbers and files from the run and from a saved model."""
    run, root, saved = tmp_path / "run", data[task], tmp_path / "saved"
    train.main([*SHORT, *MORE.get(task, []), "--task", task, "--data.root", str(root), "--workdir", str(run)])
    result = json.loads((run / "result.json").read_text())
    assert GOOD[task](result), result
    facts = json.loads((run / "data.json").read_text())["task"]
    assert facts == {"name": task, **FACTS[task]} if FACTS[task] else facts["mean"] == pytest.approx([5.4], abs=0.2)
    convert.main([str(run), "--out", str(saved)])
    capsys.readouterr()
    report = ["--report", str(tmp_path / "report")] if task == "binary" else []
    evaluate.main([str(saved), "--json", "--csv", str(tmp_path / "images.csv"), *report, "--root", str(root)])
    assert sorted(path.name for path in tmp_path.glob("report/*")) == (
        ["best.png", "confusion.png", "index.html", "precision_recall.png", "reliability.png", "worst.png"] if report else []
    )
    found = json.loads(capsys.readouterr().out)
    assert {name: value for name, value in found.items() if name != "step"} == pytest.approx(
        {name: value for name, value in result.items() if name.startswith("val/") and name != "val/loss"}, rel=1e-5
    )
    worst = [float(row[BEST[task]]) for row in csv.DictReader((tmp_path / "images.csv").open())]
    assert len(worst) == 5 and worst == sorted(worst, reverse=task == "regression")
    for network, out in ((run, tmp_path / "a"), (saved, tmp_path / "b")):
        predict.main([str(network), str(root / "images/val/00.png"), "--out", str(out)])
        legend = [] if task in ("regression", "boundary") else ["legend.png"]
        assert sorted(path.name for path in out.iterdir()) == sorted([f"00_{name}" for name in FILES[task]] + legend)
    for name in FILES[task]:
        assert (tmp_path / "a" / f"00_{name}").read_bytes() == (tmp_path / "b" / f"00_{name}").read_bytes()
    capsys.readouterr()
    predict.main([str(run), str(root / "images/val/00.png"), "--out", str(tmp_path / "a"), "--skip-existing"])
    assert capsys.readouterr().out.startswith("all images are done, in")


def test_a_network_has_other_options_of_its_task_where_they_are_asked_for():
    network = Network(None, {}, fcn.tasks.make("stardist", ["cell"]), None)
    assert with_task_options(network, ["threshold=0.25", "overlap=0.3"]).task.threshold == 0.25
    assert with_task_options(network, []) is network
    with pytest.raises(ValueError, match=r"task option 'terms' is no option: --loss\.terms sets the loss"):
        with_task_options(network, ["terms=dice"])


def test_a_saved_task_belongs_to_its_network(tmp_path):
    model = fcn.create_model("unet", num_classes=1, base_features=2, depth=1)
    variables = random_variables(model, 1, 16, 16, 3)
    task = fcn.tasks.make("binary", ["ground", "disc"], threshold=0.3)
    fcn.save(tmp_path / "net", model, variables, task=task)
    assert fcn.load(tmp_path / "net").task == task and load_task(tmp_path / "net") == task
    for wrong, message in (
        ({"task": fcn.tasks.make("semantic", ["a", "b"])}, "the task 'semantic' has 2 channels, but the model has 1 classes"),
        ({"task": task, "classes": ["a", "b"]}, "the task says classes and palette already"),
    ):
        with pytest.raises(ValueError, match=message):
            fcn.save(tmp_path / "other", model, variables, **wrong)
    description = json.loads((tmp_path / "net" / "model.json").read_text())
    (tmp_path / "net" / "model.json").write_text(json.dumps(description | {"task": {"name": "binry"}}))
    with pytest.raises(ValueError, match=r"model\.json: unknown task 'binry'; did you mean 'binary'"):
        fcn.load(tmp_path / "net")


def test_what_a_task_cannot_learn_is_told_before_anything_is_written(options, tmp_path):
    for wrong, message in (
        (["--loss.terms", "ce+1*dise"], "unknown loss 'dise'; did you mean 'dice'"),
        (["--loss.terms", "dice", "--loss.class-weights", "enet"], "loss.class_weights weighs ce, ohem, topk, border, none"),
    ):
        with pytest.raises(ValueError, match=message):
            train.main([*options, *wrong, "--workdir", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="unknown task 'binry'; did you mean 'binary'"):
        TrainConfig(task="binry")


@pytest.mark.parametrize(
    ("config", "terms"),
    [
        ({}, (Term(1.0, "ce"),)),
        ({"dice": 0.5}, (Term(1.0, "ce"), Term(0.5, "dice", {"absent": "skip"}))),
        ({"terms": "dice+2*ce", "reduction": "sum"}, (Term(1.0, "dice"), Term(2.0, "ce", {"reduction": "sum"}))),
        ({"terms": "ce(label_smoothing=0.2)", "label_smoothing": 0.1}, (Term(1.0, "ce", {"label_smoothing": 0.2}),)),
    ],
)
def test_the_terms_of_a_configuration(config, terms):
    assert loss_terms(LossConfig(**config), "ce") == terms


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"dice": 0.5, "terms": "ce"}, r"two ways to say the same; write \+0.5\*dice in loss.terms"),
        ({"terms": "dice", "reduction": "sum"}, "loss.reduction is the cross-entropy's, .*; name ce in loss.terms"),
    ],
)
def test_options_that_do_not_belong_together(config, message):
    with pytest.raises(ValueError, match=message):
        loss_terms(LossConfig(**config), "ce")


def test_configurations_of_before_are_semantic():
    values = to_json(TrainConfig())
    del values["task"], values["loss"]["terms"]
    assert from_json(values) == TrainConfig()
