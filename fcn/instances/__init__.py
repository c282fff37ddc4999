"""Instance maps: from objects to what a dense network learns of them, and back. On the host, but for the way along flows.

    classes = boundary_classes(instances)                   # of each pixel: background, interior, boundary
    instances = decode_boundaries(probabilities)

    distances, probabilities = star_distances(instances), edge_probabilities(instances)
    instances = paint(suppress(candidates(probabilities, distances, 0.5), 0.4), image.shape[:2])

    flows = instance_flows(instances)                       # unit vectors to the middle of each object
    instances = decode_flows(outputs)                       # of flows, 5 long, and logits

    measure(instances).csv()                                # areas, middles, boxes

Instance maps are integers [H, W]: 0 for background, another number for each object.
"""

from fcn.instances.boundaries import boundary_classes, decode_boundaries
from fcn.instances.conditional import box_distances, decode_conditional, mask_logits
from fcn.instances.flows import decode_flows, follow, instance_flows
from fcn.instances.objects import Objects, measure
from fcn.instances.outlines import outlines
from fcn.instances.rays import edge_probabilities, star_distances
from fcn.instances.stars import Stars, candidates, paint, suppress
from fcn.metrics.instances import match

__all__ = [
    "Objects",
    "Stars",
    "boundary_classes",
    "box_distances",
    "candidates",
    "decode_boundaries",
    "decode_conditional",
    "decode_flows",
    "edge_probabilities",
    "follow",
    "instance_flows",
    "mask_logits",
    "match",
    "measure",
    "outlines",
    "paint",
    "star_distances",
    "suppress",
]
