"""Using a trained network: images of any size, whole or in tiles, and what of them a logit sees."""

from fcn.inference.blocks import VolumePredictor
from fcn.inference.ensemble import Ensemble
from fcn.inference.export import export_network, open_export
from fcn.inference.field import ReceptiveField, receptive_field
from fcn.inference.label_maps import write_labels
from fcn.inference.onnx_file import export_onnx
from fcn.inference.predictor import Predictor, Uncertainty
from fcn.inference.stream import ahead
from fcn.inference.whole import make_predictor, predict_image

__all__ = [
    "Ensemble",
    "Predictor",
    "ReceptiveField",
    "Uncertainty",
    "VolumePredictor",
    "ahead",
    "export_network",
    "export_onnx",
    "make_predictor",
    "open_export",
    "predict_image",
    "receptive_field",
    "write_labels",
]
