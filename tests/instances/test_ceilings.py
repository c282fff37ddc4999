"""What perfect targets come to, decoded: the ceiling of each codec on real nuclei, as measured with the released packages."""

import numpy as np
import pytest

from fcn.data import open_source
from fcn.instances import (
    boundary_classes,
    candidates,
    decode_boundaries,
    decode_flows,
    edge_probabilities,
    instance_flows,
    measure,
    paint,
    star_distances,
    suppress,
)
from fcn.metrics.instances import Instances


def boundaries(label):
    return decode_boundaries(np.eye(3, dtype=np.float32)[boundary_classes(label)])


def stars(label, grid=1):
    places = (slice(None, None, grid),) * 2
    found = candidates(edge_probabilities(label)[places], star_distances(label, grid=grid), 0.5, grid=grid)
    return paint(suppress(found, 0.4), label.shape)


def coarse_stars(label):
    return stars(label, grid=2)


def flows(label):
    sure = np.where(label > 0, 10, -10)[..., None]
    return decode_flows(np.concatenate([5 * instance_flows(label), sure], -1).astype(np.float32))


CEILINGS = {
    boundaries: (0.998, 0.996, 0.996),
    stars: (0.997, 0.990, 0.975),
    coarse_stars: (0.993, 0.987, 0.965),
    flows: (0.998, 0.998, 0.975),
}


@pytest.mark.slow
@pytest.mark.parametrize("codec", CEILINGS, ids=lambda codec: codec.__name__)
def test_ceilings_on_all_validation_images(codec, shared_data):
    source = open_source("folder", "val", root=shared_data / "dsb2018_nuclei", label_kind="instances")
    metric = Instances((0.5, 0.7, 0.9))
    state = metric.init()
    for label in (source.label(index) for index in range(len(source))):
        state = metric.update(state, [codec(label)], [label])
    assert len(state.counts) == 37 and state.counts[:, 0, ::2].sum() == 1175  # found and missed
    reached = np.array([one.ap for one in metric.compute(state).pooled])
    assert (reached > np.array(CEILINGS[codec]) - 0.003).all(), reached


@pytest.mark.slow
def test_seventy_thousand_objects():
    """Squares of 3x3, a pixel apart: more than 16 bits count."""
    rows, columns = np.mgrid[:1060, :1060]
    label = np.where((rows % 4 < 3) & (columns % 4 < 3), 265 * (rows // 4) + columns // 4 + 1, 0).astype(np.int32)
    assert label.max() == 70_225
    np.testing.assert_array_equal(boundaries(label), label)
    assert set(measure(label).areas.tolist()) == {9}
