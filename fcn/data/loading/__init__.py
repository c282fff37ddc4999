"""Batches of samples: order, crops, sizes, workers."""
