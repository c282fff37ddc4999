"""Fixtures of the metrics' tests."""

import jaxtyping
import pytest


@pytest.fixture
def unchecked():
    """Without run-time checks of the annotations, which would raise before the function's own errors."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
