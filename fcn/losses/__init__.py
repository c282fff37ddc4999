"""Losses for dense prediction: pure functions of logits and labels, normalised over the batch of all devices.

Every loss computes in float32, whatever the type of the logits, and gives ignored pixels no weight. What the channels mean is
said by `mode`: "multiclass" (softmax; labels are class ids), "binary" (the sigmoid of one channel; labels are 0 and 1) or
"multilabel" (a sigmoid per channel; labels are 0 and 1 for each). A combination is a sum:

    loss = cross_entropy(logits, labels) + 0.5 * dice_loss(logits, labels)
    loss = total_loss(parse_terms("ce+0.5*dice"), logits, labels)

`LOSSES` names them all. Names, keywords and defaults are those of segmentation-models-pytorch where it has the loss.

Several devices: under `jit` with sharded arrays nothing is needed. Under `pmap` (and `shard_map`) pass its `axis_name`:
numerator and denominator are then summed over the devices before the division, every device returns the loss of the global
batch, and the mean of the devices' gradients (`jax.lax.pmean`) is the gradient of that loss. The mean of per-device means would
be wrong wherever the devices see different numbers of ignored pixels.
"""

from fcn.losses.border import border_cross_entropy, border_distances, border_weights
from fcn.losses.cldice import cldice_loss, soft_skeleton
from fcn.losses.correlation import mcc_loss
from fcn.losses.distances import boundary_distances, boundary_loss, hausdorff_loss, signed_distances
from fcn.losses.entropy import cross_entropy, ohem_cross_entropy, topk_cross_entropy
from fcn.losses.focal import focal_loss
from fcn.losses.lovasz import lovasz_loss
from fcn.losses.overlap import dice_loss, focal_tversky_loss, generalized_dice_loss, jaccard_loss, tversky_loss
from fcn.losses.regression import huber_loss, l1_loss
from fcn.losses.table import LOSSES, Loss, Term, parse_terms, total_loss, weighed_losses
from fcn.losses.weights import class_counts, enet_weights, median_frequency_weights

__all__ = [
    "LOSSES",
    "Loss",
    "Term",
    "border_cross_entropy",
    "border_distances",
    "border_weights",
    "boundary_distances",
    "boundary_loss",
    "class_counts",
    "cldice_loss",
    "cross_entropy",
    "dice_loss",
    "enet_weights",
    "focal_loss",
    "focal_tversky_loss",
    "generalized_dice_loss",
    "hausdorff_loss",
    "huber_loss",
    "jaccard_loss",
    "l1_loss",
    "lovasz_loss",
    "mcc_loss",
    "median_frequency_weights",
    "ohem_cross_entropy",
    "parse_terms",
    "signed_distances",
    "soft_skeleton",
    "topk_cross_entropy",
    "total_loss",
    "tversky_loss",
    "weighed_losses",
]
