"""What computes the layers: algorithms, and the choice among them. Deeper than these names only `fcn.layers` imports."""

from fcn.kernels.explaining import Explanation, explain
from fcn.kernels.mode import use
from fcn.kernels.onednn import usable as uses_onednn
from fcn.kernels.table import RULES
from fcn.kernels.tuning import measured_table, tune

__all__ = ["RULES", "Explanation", "explain", "measured_table", "tune", "use", "uses_onednn"]
