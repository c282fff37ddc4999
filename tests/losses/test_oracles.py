"""Values and gradients of the losses against those that segmentation-models-pytorch, MONAI and PyTorch return."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn import losses

SMP = {
    "dice": (losses.dice_loss, {}),
    "dice_smooth1": (losses.dice_loss, {"smooth": 1.0}),
    "dice_log": (losses.dice_loss, {"log_loss": True}),
    "dice_classes": (losses.dice_loss, {"classes": (1, 3)}),
    "jaccard": (losses.jaccard_loss, {}),
    "jaccard_log": (losses.jaccard_loss, {"log_loss": True}),
    "focal": (losses.focal_loss, {}),
    "focal_a25_g3": (losses.focal_loss, {"alpha": 0.25, "gamma": 3.0}),
    "focal_norm": (losses.focal_loss, {"normalized": True}),
    "focal_reduced": (losses.focal_loss, {"reduced_threshold": 0.5}),
    "tversky": (losses.tversky_loss, {"alpha": 0.3, "beta": 0.7}),
    "tversky_g075": (losses.tversky_loss, {"alpha": 0.3, "beta": 0.7, "gamma": 0.75}),
    "lovasz": (losses.lovasz_loss, {}),
    "lovasz_perimage": (losses.lovasz_loss, {"per_image": True}),
    "mcc": (losses.mcc_loss, {}),
    "softbce": (losses.cross_entropy, {}),
    "softbce_smooth": (losses.cross_entropy, {"label_smoothing": 0.1}),
    "softbce_ignore": (losses.cross_entropy, {}),
    "softbce_ignore_smooth": (losses.cross_entropy, {"label_smoothing": 0.1}),
    "softbce_pos": (losses.cross_entropy, {"pos_weight": True}),
    "softce_s0.0": (losses.cross_entropy, {}),
    "softce_s0.1": (losses.cross_entropy, {"label_smoothing": 0.1}),
    "softce_s0.0_ignore": (losses.cross_entropy, {}),
    "softce_s0.1_ignore": (losses.cross_entropy, {"label_smoothing": 0.1}),
    "torch_ce": (losses.cross_entropy, {}),
    "torch_ce_w_ignore": (losses.cross_entropy, {"class_weights": True}),
    "torch_ce_ls_w_ignore": (losses.cross_entropy, {"class_weights": True, "label_smoothing": 0.1}),
}
MODES = {"mc": "multiclass", "bin": "binary", "ml": "multilabel"}
WITHOUT_BACKGROUND, MONAI_DICE = (1, 2), {"per_image": True, "smooth": 5e-6, "absent": "keep"}
MONAI = {
    "DiceLoss(to_onehot_y=True, softmax=True)": (losses.dice_loss, MONAI_DICE),
    "DiceLoss(to_onehot_y=True, include_background=False, softmax=True)": (
        losses.dice_loss,
        MONAI_DICE | {"classes": WITHOUT_BACKGROUND},
    ),
    "DiceLoss(to_onehot_y=True, batch=True, softmax=True)": (losses.dice_loss, MONAI_DICE | {"per_image": False}),
    "DiceLoss(to_onehot_y=True, squared_pred=True, softmax=True)": (losses.dice_loss, MONAI_DICE | {"squared": True}),
    "DiceLoss(to_onehot_y=True, jaccard=True, softmax=True)": (losses.jaccard_loss, MONAI_DICE),
    "TverskyLoss(to_onehot_y=True, alpha=0.3, beta=0.7, softmax=True)": (
        losses.tversky_loss,
        MONAI_DICE | {"smooth": 1e-5, "alpha": 0.3, "beta": 0.7},
    ),
    "GeneralizedDiceLoss(to_onehot_y=True, softmax=True)": (losses.generalized_dice_loss, {}),
    "GeneralizedDiceLoss(to_onehot_y=True, w_type='simple', softmax=True)": (
        losses.generalized_dice_loss,
        {"weighting": "simple"},
    ),
    "GeneralizedDiceLoss(to_onehot_y=True, w_type='uniform', softmax=True)": (
        losses.generalized_dice_loss,
        {"weighting": "uniform"},
    ),
    "GeneralizedDiceLoss(to_onehot_y=True, include_background=False, batch=True, softmax=True)": (
        losses.generalized_dice_loss,
        {"classes": WITHOUT_BACKGROUND, "per_image": False},
    ),
    "FocalLoss(to_onehot_y=True)": (losses.focal_loss, {}),
    "FocalLoss(to_onehot_y=True, use_softmax=True)": (losses.focal_loss, {"softmax": True}),
    "FocalLoss(to_onehot_y=True, include_background=False, gamma=3.0)": (
        losses.focal_loss,
        {"classes": WITHOUT_BACKGROUND, "gamma": 3.0},
    ),
    "HausdorffDTLoss(to_onehot_y=True, softmax=True)": (losses.hausdorff_loss, {"classes": WITHOUT_BACKGROUND}),
    "HausdorffDTLoss(to_onehot_y=True, alpha=1.0, softmax=True)": (
        losses.hausdorff_loss,
        {"classes": WITHOUT_BACKGROUND, "alpha": 1.0},
    ),
    "HausdorffDTLoss(to_onehot_y=True, include_background=True, softmax=True)": (losses.hausdorff_loss, {}),
}


class Oracle:
    """Inputs, with channels last, and results of one file."""

    def __init__(self, folder, name, calls):
        self.arrays = np.load(folder / f"{name}.npz")
        self.calls = json.loads((folder / f"{calls}.json").read_text())

    def input(self, name):
        return self.arrays[f"in/{name}"]

    def last(self, name):
        return np.moveaxis(self.input(name), 1, -1)

    def check(self, function, case, logits, scale=1.0):
        value, gradient = jax.jit(jax.value_and_grad(function))(logits)
        np.testing.assert_allclose(value, scale * self.arrays[f"out/{case}/value"], rtol=1e-5)
        expected = scale * np.moveaxis(self.arrays[f"out/{case}/grad"], 1, -1)
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def smp(shared_data):
    return Oracle(shared_data / "oracles" / "augment_losses", "smp_losses", "smp_calls")


@pytest.fixture(scope="module")
def monai(shared_data):
    return Oracle(shared_data / "oracles" / "augment_losses", "monai", "monai_calls")


IGNORING = ("dice", "focal", "focal_a25_g3", "tversky", "tversky_g075", "lovasz", "lovasz_perimage")
ONE_MODE = {"dice_classes": "mc", "mcc": "bin", "softbce_smooth": "bin", "softbce_ignore": "bin"}
ONE_MODE |= {"softbce_pos": "ml", "softbce_ignore_smooth": "ml"}


def modes(name):
    if name in ONE_MODE:
        return [ONE_MODE[name]]
    if name.startswith(("softce", "torch")):
        return ["mc"]
    return ["bin", "ml"] if name == "softbce" else ["mc", "bin"] if name.startswith("lovasz") else list(MODES)


CASES = [f"{name}/{kind}" for name in SMP for kind in modes(name)]
CASES += [f"{name}/{kind}_ignore" for name in IGNORING for kind in modes(name)]
WITHOUT_VALUE = {"focal/ml_ignore", "focal_a25_g3/ml_ignore"}  # the package raises an IndexError


@pytest.mark.parametrize("case", [case for case in CASES if case not in WITHOUT_VALUE])
def test_equals_segmentation_models_pytorch(smp, case):
    """Where the package divides by all pixels, ignored ones included, the right value is that of the others alone."""
    name, kind = case.split("/")
    (function, options), row = SMP[name], smp.calls[case]
    labels = smp.last(row["labels"]) if kind.startswith("ml") else smp.input(row["labels"]).reshape(2, 8, 10)
    options = dict(options)
    if "class_weights" in options:
        options["class_weights"] = smp.input("mc/class_weight")
    if "pos_weight" in options:
        options["pos_weight"] = smp.input("ml/pos_weight").ravel()
    scale = labels.size / np.sum(labels != 255) if name.startswith("soft") else 1.0
    mode = MODES[kind.removesuffix("_ignore")]
    smp.check(lambda x: function(x, labels.astype(np.int32), mode, **options), case, smp.last(row["logits"]), scale)


def test_every_stored_loss_is_compared(smp):
    assert set(smp.calls) == set(CASES)


@pytest.mark.parametrize("rank", ["2d", "3d"])
@pytest.mark.parametrize("call", MONAI)
def test_equals_monai(monai, rank, call):
    case = f"{rank}/{call}"
    function, options = MONAI[call]
    logits, labels = monai.last(f"{rank}/logits"), monai.input(f"{rank}/labels")[:, 0].astype(np.int32)
    mode = "multiclass"
    if function is losses.hausdorff_loss:
        true = np.eye(3)[labels]
        masks = np.asarray(jax.nn.softmax(logits, -1)) > 0.5
        options = options | {
            "distances": np.stack([losses.boundary_distances(image) for image in true]),
            "predicted_distances": np.stack([losses.boundary_distances(image) for image in masks]),
        }
    monai.check(lambda x: function(x, jnp.asarray(labels), mode, **options), case, logits)
