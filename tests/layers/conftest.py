"""Fixtures of the layers' tests."""

import pytest

from fcn.layers import forms


@pytest.fixture
def usual_forms(monkeypatch, tmp_path):
    """The table that comes with the library, whatever was measured on this machine, and the rules of before JAX 0.12."""
    monkeypatch.setattr(forms, "BEFORE_0_12", True)
    monkeypatch.setattr(forms, "_path", lambda: tmp_path / "forms.json")
    forms._table.cache_clear()
    yield
    forms._table.cache_clear()
