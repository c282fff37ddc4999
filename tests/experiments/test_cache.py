"""Commands keep compiled programs, or compute with oneDNN, whichever is faster for what they do."""

import jax
import pytest

from experiments import command, predict, train
from fcn import kernels


@pytest.mark.parametrize(
    ("calls", "usable", "asked_for", "folder"),
    [
        (command.OFTEN, True, None, None),
        (command.OFTEN - 1, True, None, "mine/fcn/xla"),
        (10**6, False, None, "mine/fcn/xla"),
        (1, True, "theirs", "theirs"),
    ],
)
def test_programs_are_kept_unless_they_run_often_and_onednn_is_there(calls, usable, asked_for, folder, monkeypatch):
    settings = {"jax_compilation_cache_dir": asked_for}  # JAX reads the variable itself
    monkeypatch.setattr(kernels, "uses_onednn", lambda: usable)
    monkeypatch.setattr(jax.config, "update", settings.__setitem__)
    monkeypatch.setenv("XDG_CACHE_HOME", "mine")
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    if asked_for:
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", asked_for)
    command.cache_compilations(calls)
    assert settings["jax_compilation_cache_dir"] == folder
    assert ("jax_persistent_cache_min_compile_time_secs" in settings) == (folder is not None)


class Stop(Exception):
    """Ends a command where it has chosen."""


@pytest.fixture
def stop(monkeypatch):
    def choose(calls):
        raise Stop(calls)

    monkeypatch.setattr(command, "cache_compilations", choose)


def test_training_chooses_by_its_length_not_by_what_is_left(stop, tmp_path):
    with pytest.raises(Stop, match="321"):
        train.main(["--steps", "321", "--workdir", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def test_prediction_chooses_by_its_images(stop, folder_data, tmp_path):
    with pytest.raises(Stop, match="5"):
        predict.main([str(tmp_path), str(folder_data / "images" / "val"), "--out", str(tmp_path / "out")])
