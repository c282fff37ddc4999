"""Encoders: images to feature maps at strides 1, 2, 4, 8, 16, 32. One file per family."""
