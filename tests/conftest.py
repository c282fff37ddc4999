"""Fixtures shared by all tests."""

import contextlib
import os
from pathlib import Path

import jaxtyping
import pytest

from tests.compilation import QUICK_COMPILATION

# Before JAX starts: eight virtual CPU devices for the tests of parallel training (others use the first), and quick compilation.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICK_COMPILATION} --xla_force_host_platform_device_count=8"

# Whichever test is the first: oneDNN computes in those alone that ask for it (`with_onednn` in tests/layers).
os.environ["FCN_ONEDNN"] = "0"

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module", autouse=True)
def forget_compiled_programs():
    """Each file begins without those of the files before, which take gigabytes, and without a cache that a command set."""
    import jax

    cache = jax.config.jax_compilation_cache_dir
    yield
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.clear_caches()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images and reference checkpoints (`FCN_SHARED_DATA`, default `../shared/data`)."""
    folder = Path(os.environ.get("FCN_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}: set FCN_SHARED_DATA to the folder of real images and checkpoints")
    return folder


@contextlib.contextmanager
def symbolic_sizes():
    """Sizes that are symbols are no integers, as annotations say of the usual ones."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def symbols():
    """See `symbolic_sizes`."""
    with symbolic_sizes():
        yield
