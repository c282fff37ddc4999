"""Flows: Cellpose's targets, where pixels go, and the objects that come of it; the ceiling on real nuclei."""

import numpy as np
import pytest

from fcn.instances import decode_flows, follow, instance_flows
from fcn.instances.flows import flow_errors, object_centers
from fcn.metrics.instances import match

NAMES = ["92e7e86e765e05ce", "03398329ced0c23b", "af8621ef0db8c26b"]


def whole(reference, name, values):
    """An array [H, W, C] of values in the objects."""
    label = reference[f"{name}/label"]
    outputs = np.zeros((*label.shape, values.shape[-1]), np.float32)
    outputs[label > 0] = values
    return outputs


def outputs_of(label, flows):
    """Flows, and logits that are sure."""
    return np.concatenate([flows, np.where(label > 0, 10, -10)[..., None]], -1).astype(np.float32)


def assert_same_objects(found, expected, apart):
    """The same pixels, whatever the numbers, but for `apart` of them."""
    assert np.sum((found > 0) != (expected > 0)) <= apart
    both = (found > 0) & (expected > 0)
    _, counts = np.unique(np.stack([found[both], expected[both]], -1), axis=0, return_counts=True)
    assert np.sum(counts > apart) == found.max() == len(np.unique(expected[expected > 0]))
    assert counts[counts <= apart].sum() <= apart


@pytest.mark.parametrize("name", NAMES)
def test_flows_equal_cellpose(name, reference):
    label = reference[f"{name}/label"]
    np.testing.assert_array_equal(object_centers(label), reference[f"{name}/flow_centers_yx"])
    wrong = np.abs(instance_flows(label) - whole(reference, name, reference[f"{name}/flow_fg"])).max(-1) > 1e-4
    assert set(map(tuple, np.argwhere(wrong))) <= set(map(tuple, object_centers(label)))  # where the slope is a rounding error


def test_pixels_end_where_they_do_in_cellpose(reference):
    name = NAMES[0]
    flows, label = whole(reference, name, reference[f"{name}/flow_fg"]), reference[f"{name}/label"]
    ends = follow(flows, np.argwhere(label > 0))
    np.testing.assert_allclose(ends, reference[f"{name}/follow_final_yx_fg"], atol=0.02)


@pytest.mark.parametrize("kind", ["exact", "noisy", "noisy without control"])
def test_objects_equal_cellpose(kind, reference):
    name = NAMES[0]
    label = reference[f"{name}/label"]
    if kind == "exact":
        flows, expected = 5 * reference[f"{name}/flow_fg"], reference[f"{name}/flow_masks"]
    else:
        flows = reference[f"{name}/noisy_flow_fg_x100"] / 100
        expected = reference[f"{name}/noisy_flow_masks" + ("_noqc" if "without" in kind else "")]
    outputs = outputs_of(label, whole(reference, name, flows))
    found = decode_flows(outputs, flow_error=None if "without" in kind else 0.4)
    assert_same_objects(found, expected, apart=0 if kind == "exact" else 4)  # noise magnifies how float32 is rounded


def test_objects_of_any_number_part_and_size():
    """Two that touch, one with a hole, one in two parts, one below the least size."""
    label = np.zeros((24, 30), int)
    label[2:12, 2:12], label[2:12, 12:22], label[14:22, 2:12], label[17, 6] = 70_000, 3, 8, 0
    label[14:20, 14:20], label[15:18, 24:27] = 5, 5
    flows = instance_flows(label)
    assert not flows[label == 0].any() and not flows[15:18, 24:27].any()  # which heat does not reach
    np.testing.assert_allclose(np.hypot(*flows[2:12, 2:22].reshape(-1, 2).T), 1, atol=1e-5)
    found = decode_flows(outputs_of(label, 5 * flows))
    assert found[17, 6] == found[14, 2] > 0 and not found[15:18, 24:27].any()
    assert match((label * (label != 5)).astype(int), found * (label != 5), 0.9).tp == 3
    assert not decode_flows(outputs_of(label * 0, flows)).any()


def test_the_largest_objects_are_left_out():
    label = np.zeros((20, 20), int)
    label[1:18, 1:18] = 1
    outputs = outputs_of(label, 5 * instance_flows(label))
    assert decode_flows(outputs, largest=1.0).any() and not decode_flows(outputs, largest=0.4).any()


def test_errors_are_those_of_the_shape():
    label = np.zeros((12, 24), np.int32)
    label[2:10, 2:10], label[2:10, 12:20] = 1, 2
    flows = instance_flows(label)
    flows[:, 11:] *= -1
    np.testing.assert_allclose(flow_errors(label, flows), [0, 0, 4], atol=1e-5)
