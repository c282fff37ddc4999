"""Decoders on SqueezeNet, which does not pad: its maps are smaller than others', and larger of images that it extends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fcn
from fcn.models.parts.encoder_decoder import _fitted

SMALL = {
    "fpn": {"decoder_pyramid_channels": 4, "decoder_segmentation_channels": 32},
    "linknet": {},
    "manet": {"decoder_channels": (4, 4, 4), "decoder_pab_channels": 4},
    "unetplusplus": {"decoder_channels": (4, 4, 4)},
    "pspnet": {"psp_out_channels": 4},
    "upernet": {"decoder_channels": 4},
}


@pytest.mark.parametrize("name", SMALL)
def test_logits_have_the_size_of_images(name):
    model = fcn.create_model(name, num_classes=2, encoder="squeezenet1_1", encoder_depth=3, **SMALL[name])
    for size in ((64, 96), (7, 9)):
        images = jnp.zeros((1, *size, 3))
        shape = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x)[0], images).shape
        assert shape == (1, *size, 2)


@pytest.mark.parametrize(("have", "image", "expected"), [(4, 8, 4), (3, 8, 4), (6, 8, 4), (5, 9, 5), (4, 9, 4)])
def test_a_map_has_the_size_that_its_stride_says(have, image, expected):
    """That of whole and of begun steps is left as it is, a smaller one is enlarged, of a larger one the corner stays."""
    x = jnp.asarray(np.arange(have, dtype=np.float32)[None, :, None, None])
    given = _fitted(x, (1, image, 2, 3), 2)[0, :, 0, 0]
    kept = np.arange(have)[:expected]
    np.testing.assert_allclose(given, kept if have >= expected else np.interp((np.arange(4) + 0.5) * 0.75 - 0.5, kept, kept))
