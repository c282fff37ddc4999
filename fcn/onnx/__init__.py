"""Functions of JAX as ONNX models. Needs the package `onnx` (extra `onnx`)."""

from fcn.onnx.conversion import UnknownOperation, to_onnx

__all__ = ["UnknownOperation", "to_onnx"]
