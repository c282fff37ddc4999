"""Segmentation models: images to logits. One file per paper."""
