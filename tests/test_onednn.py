"""Whole networks as users on x86 have them: one device, oneDNN on, no compilation cache. Other tests have none of the three."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np

import fcn
from tests.compilation import QUICK_COMPILATION
from tests.layers.references import needs_onednn
from tests.test_contract import SMALL
from tests.variables import random_variables

FAMILIES = {
    "unet": {"base_features": 4, "depth": 1},
    "fcn8s": SMALL["fcn8s"],
    "espnet_c": SMALL["espnet_c"],
    "fc_densenet56": {"layers": (1, 1, 1), "growth_rate": 4, "stem_features": 6},
}


@needs_onednn
def test_values_and_gradients():
    """Are XLA's, in a process of their own."""
    others = {"FCN_ONEDNN", "FCN_KERNELS", "JAX_COMPILATION_CACHE_DIR", "JAX_NUM_CPU_DEVICES"}
    environ = {name: value for name, value in os.environ.items() if name not in others}
    environ |= {"XLA_FLAGS": QUICK_COMPILATION, "JAX_PLATFORMS": "cpu"}
    process = subprocess.run([sys.executable, "-m", __name__], env=environ, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    compared = json.loads(process.stdout)
    assert compared.keys() == FAMILIES.keys()
    for name, (count, of_xla, error) in compared.items():
        assert count > 0 and of_xla == 0 and error < 3e-4, name  # random networks lose three of seven digits


def compare(name: str) -> tuple[int, int, float]:
    """How many of oneDNN's operations a small network has, and how many in the mode "xla"; the largest error beside that."""
    count, given = computed(name)
    with fcn.kernels.use("xla"):
        of_xla, expected = computed(name)
    return count, of_xla, max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(given, expected, strict=True))


def computed(name: str) -> tuple[int, list[jax.Array]]:
    """How many of oneDNN's operations there are; logits, and gradients of a loss with respect to parameters and images."""
    model = fcn.create_model(name, num_classes=2, **FAMILIES[name])
    images = np.random.default_rng(0).normal(size=(1, 17, 24, 3))
    variables = random_variables(model, *images.shape)

    def loss(params, images):
        logits = model.apply({**variables, "params": params}, images)
        return jnp.mean(jnp.sin(logits)), logits

    arguments = variables["params"], jnp.asarray(images, jnp.float32)
    program = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True)).lower(*arguments)
    return program.as_text().count("__onednn$"), jax.tree.leaves(program.compile()(*arguments))


if __name__ == "__main__":
    print(json.dumps({name: compare(name) for name in FAMILIES}))
