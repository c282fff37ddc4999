"""Using a trained network: class maps of whole images of any size."""

from fcn.inference.whole import make_predictor, predict_image

__all__ = ["make_predictor", "predict_image"]
