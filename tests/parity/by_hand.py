"""Networks written anew with PyTorch's functions, on our variables: for models that no package offers as a reference."""

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from tests.parity.reference import assert_close, nchw, nhwc, torch
from tests.variables import random_variables

F = torch.nn.functional


class Layers:
    """PyTorch's layers by the paths of our parameters; `used` are those that were asked for."""

    def __init__(self, variables, *, train=False, epsilon=1e-5):
        self.tensors = {"/".join(path[1:]): torch.from_numpy(np.array(leaf)) for path, leaf in flatten_dict(variables).items()}
        self.train, self.epsilon, self.used = train, epsilon, set()
        for tensor in self.tensors.values():
            tensor.requires_grad_(True)

    def __call__(self, name):
        self.used.add(name)
        return self.tensors.get(name)

    def conv(self, x, path, stride=1, padding=None, dilation=1):
        kernel = self(f"{path}/kernel").permute(3, 2, 0, 1)
        padding = dilation * (kernel.shape[-1] // 2) if padding is None else padding
        return F.conv2d(x, kernel, self(f"{path}/bias"), stride, padding, dilation)

    def conv_transpose(self, x, path, stride=2):
        kernel = self(f"{path}/kernel").flip(0, 1).permute(2, 3, 0, 1)
        return F.conv_transpose2d(x, kernel, self(f"{path}/bias"), stride)

    def norm(self, x, path):
        mean, var, weight, bias = (self(f"{path}/{leaf}") for leaf in ("mean", "var", "scale", "bias"))
        return F.batch_norm(x, mean.detach(), var.detach(), weight, bias, self.train, eps=self.epsilon)

    def prelu(self, x, path):
        return F.prelu(x, self(f"{path}/alpha"))


def images(*size, channels=3, batch=1):
    return np.random.default_rng(0).normal(size=(batch, *size, channels)).astype(np.float32)


def assert_model_equals(model, reference, sizes, *, extended=(), channels=3, **options):
    """Logits in evaluation; the reference uses every parameter.

    Args:
      model: ours.
      reference: (images, layers) -> logits.
      sizes: heights and widths.
      extended: pairs of a size, and the larger one to which the image is extended by repeating its last row and column: the
        logits are those of the larger image, cropped.
      channels: of the images.
      **options: of `Layers`.
    """
    variables = random_variables(model, 1, 64, 64, channels)
    apply = jax.jit(model.apply)
    for (height, width), size in [*((size, size) for size in sizes), *extended]:
        x = images(height, width, channels=channels)
        padded = np.pad(x, ((0, 0), (0, size[0] - height), (0, size[1] - width), (0, 0)), mode="edge")
        layers = Layers(variables, **options)
        with torch.no_grad():
            expected = nhwc(reference(nchw(padded), layers))
        assert layers.tensors.keys() <= layers.used
        assert_close(apply(variables, x), expected[:, :height, :width])


def assert_model_gradients_equal_by_hand(create, reference, size, **options):
    """In training: gradients with respect to the images and all parameters, and running means.

    In float64, since rounding in float32 flips some of many ReLUs.

    Args:
      create: (dtype=, param_dtype=) -> our model, without dropout.
      reference: (images, layers) -> logits.
      size: height and width of the images.
      **options: of `Layers`.
    """
    x = images(*size, batch=2).astype(np.float64)
    with jax.enable_x64(True):
        model = create(dtype=jnp.float64, param_dtype=jnp.float64)
        variables = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), random_variables(model, *x.shape))
        layers = Layers(variables, train=True, **options)
        given = nchw(x).requires_grad_(True)
        logits = reference(given, layers)
        weights = np.random.default_rng(1).normal(size=nhwc(logits).shape)
        (logits * nchw(weights)).sum().backward()

        def loss(params, x):
            logits, new = model.apply(dict(variables, params=params), x, train=True, mutable=["batch_stats"])
            return (logits * weights).sum(), new["batch_stats"]

        gradients = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(variables["params"], x)
        (params, dx), statistics = jax.tree.map(np.asarray, gradients)
    assert_close(dx, nhwc(given.grad), relative=1e-3)
    for name, leaf in flatten_dict(statistics, sep="/").items():
        if name.endswith("mean"):  # PyTorch's variances carry n / (n - 1)
            assert_close(leaf, layers.tensors[name].detach().numpy())
    gradients = flatten_dict(params, sep="/")
    floor = 1e-9 * max(np.abs(leaf).max() for leaf in gradients.values())  # zero but for rounding: biases before BatchNorm
    for name, leaf in gradients.items():
        expected = layers.tensors[name].grad.numpy()
        assert np.abs(leaf - expected).max() <= 1e-3 * max(np.abs(expected).max(), floor), name
