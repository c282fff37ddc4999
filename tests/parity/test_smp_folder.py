"""What smp's own `save_pretrained` says of a network, against the model here that has its parameters."""

import json

import pytest

import fcn
from fcn.pretrained.smp import SMP_CLASSES, is_smp_folder, smp_model


@pytest.mark.parametrize("encoder", ["resnet18", "tu-vit_base_patch16_224.augreg_in21k"])
def test_all_models(tmp_path, encoder):
    from tests.parity import reference

    reference.torchvision()
    smp = pytest.importorskip("segmentation_models_pytorch", reason="install '.[parity]'")
    assert {name: model.__name__ for name, model in smp.MODEL_ARCHITECTURES_MAPPING.items()} == SMP_CLASSES
    for name, kind in SMP_CLASSES.items():
        if (name == "dpt") != encoder.startswith("tu-"):
            continue
        with reference.Undrawn():
            net = getattr(smp, kind)(encoder, encoder_weights=None, classes=4, in_channels=2)
        (tmp_path / "config.json").write_text(json.dumps(net.config | {"_model_class": kind}, default=list))
        assert is_smp_folder(tmp_path)
        expected = {"encoder": "vit_base_patch16" if name == "dpt" else "resnet18"}
        model = smp_model(tmp_path)
        assert isinstance(model, type(fcn.create_model(name, num_classes=4, **expected)))
        assert model.num_classes == 4 and model.encoder == expected["encoder"]
        for option, value in net.config.items():
            if option not in ("classes", "encoder_name", "encoder_weights", "in_channels"):
                assert getattr(model, option) == (tuple(value) if isinstance(value, list | tuple) else value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"_model_class": "Unett"}', "unknown model of smp 'Unett'; did you mean 'Unet'"),
        ('{"_model_class": ["Unet"]}', "unknown model of smp"),
        ('{"_model_class": "Unet", "classes": 2, "encoder_name": "resnet19"}', "config.json: unknown encoder 'resnet19'"),
        (
            '{"_model_class": "Unet", "classes": 2, "encoder_name": "resnet18", "new": 1}',
            "unknown option of model",
        ),
        ('{"_model_class": "FPN", "classes": 0}', "config.json: num_classes must be an integer of at least 1, not 0"),
        ('{"_model_class": "FPN", "cla', "config.json is damaged: JSONDecodeError"),
        ("[" * 100_000, "config.json is damaged: RecursionError"),
        ("[1]", "config.json holds a list"),
        ('{"_model_class": "Unet", "classes": 2, "name": "mine"}', "config.json does not describe a network .TypeError: "),
        (" " * (2**24 + 1), "config.json has 16,777,217 bytes; descriptions have at most 16,777,216"),
    ],
    ids=["model", "type", "encoder", "option", "classes", "cut", "nested", "list", "name", "large"],
)
def test_descriptions_that_are_not_understood(tmp_path, text, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        smp_model(tmp_path)


def test_folders_of_others(tmp_path):
    assert not is_smp_folder(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert not is_smp_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"is a folder without model.safetensors; give a checkpoint file"):
        fcn.from_torch(fcn.create_encoder("vgg11", width_multiplier=1 / 32), tmp_path, source="smp")
