"""What computes the layers: algorithms, and the choice among them. Deeper than these names only `fcn.layers` imports."""

from fcn.kernels.mode import use
from fcn.kernels.onednn import usable as uses_onednn
from fcn.kernels.tuning import tune

__all__ = ["tune", "use", "uses_onednn"]
