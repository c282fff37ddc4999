"""Instance maps: from objects to what a dense network learns of them, and back. On the host: NumPy and SciPy.

    classes = boundary_classes(instances)                   # of each pixel: background, interior, boundary
    instances = decode_boundaries(probabilities)

    distances, probabilities = star_distances(instances), edge_probabilities(instances)
    instances = paint(suppress(candidates(probabilities, distances, 0.5), 0.4), image.shape[:2])

Instance maps are integers [H, W]: 0 for background, another number for each object.
"""

from fcn.instances.boundaries import boundary_classes, decode_boundaries
from fcn.instances.rays import edge_probabilities, star_distances
from fcn.instances.stars import Stars, candidates, paint, suppress
from fcn.metrics.instances import match

__all__ = [
    "Stars",
    "boundary_classes",
    "candidates",
    "decode_boundaries",
    "edge_probabilities",
    "match",
    "paint",
    "star_distances",
    "suppress",
]
