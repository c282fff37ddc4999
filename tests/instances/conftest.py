"""Real nuclei, and what StarDist makes of them."""

import jaxtyping
import numpy as np
import pytest


@pytest.fixture(scope="session")
def reference(shared_data):
    """Values of the released packages, by name."""
    with np.load(shared_data / "oracles" / "instances" / "reference.npz") as values:
        return dict(values)


@pytest.fixture
def unchecked():
    """Without run-time checks of the annotations, which would raise before the function's own errors."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
