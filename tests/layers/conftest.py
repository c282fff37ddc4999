"""Fixtures of the layers' tests."""

import dataclasses

import jax
import pytest

from fcn.kernels import bilinear, blocks, measured, table


@pytest.fixture
def usual_table(monkeypatch, tmp_path):
    """The table that comes with the library, whatever was measured on this machine."""
    monkeypatch.setattr(measured, "_path", lambda: tmp_path / "forms.json")
    measured.machine_table.cache_clear()
    yield
    measured.machine_table.cache_clear()


@pytest.fixture
def choosing(monkeypatch):
    """On a CPU convolutions are computed by the algorithm that a function of the call names, if it names one."""

    def use(name_of):
        def choose(call):
            rule, name = table.choose(call), name_of(call) if call.platform == "cpu" else None
            return dataclasses.replace(rule, algorithm=name) if name else rule

        monkeypatch.setattr(bilinear, "choose", choose)

    return use


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
    """One block of rows, and three of one or a few each, where one device has all processors."""
    if request.param == "blocks":
        monkeypatch.setattr(blocks, "BLOCK_BYTES", 1)
        monkeypatch.setattr(blocks, "CACHED_BYTES", 1)
        monkeypatch.setattr(blocks, "MOST_BLOCKS", 3)
