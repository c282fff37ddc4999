"""Using a trained network: class maps of whole images of any size."""

from fcn.inference.field import ReceptiveField, receptive_field
from fcn.inference.stream import ahead
from fcn.inference.whole import make_predictor, predict_image

__all__ = ["ReceptiveField", "ahead", "make_predictor", "predict_image", "receptive_field"]
