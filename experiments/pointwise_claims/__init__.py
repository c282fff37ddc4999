"""The eight claims of `experiments.pointwise`: what a 1x1 convolution is for. One room per claim."""

from experiments.pointwise_claims import cost, dense, heads, luma, mixing, per_pixel, scoring, sizes

CLAIMS = {
    1: per_pixel.run,
    2: luma.run,
    3: mixing.run,
    4: cost.run,
    5: dense.run,
    6: sizes.run,
    7: heads.run,
    8: scoring.run,
}
"""Number of the claim -> function that computes, draws and tells it."""
