"""Fixtures of the layers' tests."""

import jax
import pytest

from fcn.kernels import blocks, forms


@pytest.fixture
def usual_forms(monkeypatch, tmp_path):
    """The table that comes with the library, whatever was measured on this machine, and the rules of before JAX 0.12."""
    monkeypatch.setattr(forms, "BEFORE_0_12", True)
    monkeypatch.setattr(forms, "_path", lambda: tmp_path / "forms.json")
    forms._table.cache_clear()
    yield
    forms._table.cache_clear()


@pytest.fixture
def with_onednn(monkeypatch):
    """One device, as far as the layers know, and no reason to do without oneDNN."""
    monkeypatch.delenv("FCN_ONEDNN", raising=False)
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.fixture(params=["one block", "blocks"])
def blocks_of_rows(request, monkeypatch):
    """One block of rows, and three of one or a few each; the eight devices of the tests would ask for one."""
    if request.param == "blocks":
        monkeypatch.setattr(jax, "device_count", lambda: 1)
        monkeypatch.setattr(blocks, "BLOCK_BYTES", 1)
        monkeypatch.setattr(blocks, "CACHED_BYTES", 1)
        monkeypatch.setattr(blocks, "MOST_BLOCKS", 3)
