"""Published weights: commits and licences are those that the libraries they come from state in their own tables."""

import pytest

from fcn.pretrained import WEIGHTS, weights
from tests.parity.encoders import smp

HUB = {name: row for name, row in WEIGHTS.items() if row.url.startswith("hub:")}


def test_commits_are_those_of_smp():
    rows = [row for row in HUB.values() if row.source == "smp"]
    assert len(rows) == 20
    for row in rows:
        stated = smp().encoders.encoders[row.model]["pretrained_settings"]["imagenet"]
        assert (row.url, row.revision) == (f"hub:{stated['repo_id']}", stated["revision"])


def test_licences_are_those_of_timm():
    smp()  # which makes torchvision importable
    timm = pytest.importorskip("timm", reason="parity tests compare with timm: install '.[parity]'")
    rows = [row for row in HUB.values() if row.source == "timm"]
    assert len(rows) == 16
    for row in rows:
        stated = timm.get_pretrained_cfg(row.url.removeprefix("hub:timm/"))
        assert (row.licence.lower(), row.url) == (stated.license, f"hub:{stated.hf_hub_id}")


@pytest.mark.parametrize(
    ("name", "commit"), [("mit_b0.imagenet", HUB["mit_b0.imagenet"].revision), ("convnext_tiny.fb_in1k", "main")]
)
def test_the_commit_is_asked_for(name, commit, monkeypatch, tmp_path):
    hub = pytest.importorskip("huggingface_hub", reason="weights on the hub take huggingface_hub: install '.[hub]'")
    asked = []
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda *place: asked.append(place))
    monkeypatch.setattr(hub, "hf_hub_download", lambda *place, **options: asked.append((*place, options)) or "file")
    monkeypatch.setattr(weights, "from_torch", lambda _, path, **__: {"file": path})
    assert weights.load_weights(name, folder=tmp_path) == {"file": "file"}
    commit = HUB[name].revision or "main"
    place = (HUB[name].url.removeprefix("hub:"), "model.safetensors")
    options = {"revision": commit, "cache_dir": tmp_path}
    assert asked == [(*place, tmp_path, commit), (*place, None, commit), (*place, options)]
