"""Checkpoints are read beside a training that writes them."""

import threading

import jax.numpy as jnp
import numpy as np

from fcn.training.checkpoint import Checkpoints


def test_readers_leave_what_is_being_written(tmp_path):
    writer = Checkpoints(tmp_path)
    writer.save(1, {"a": jnp.ones(3)}, {"seconds": 0.0}, {})
    writer.wait()
    half = tmp_path / "2.orbax-checkpoint-tmp-7"
    half.mkdir()
    reader = Checkpoints(tmp_path, read_only=True)
    state, _ = reader.restore(reader.latest(), {"a": jnp.zeros(3)})
    reader.close()
    np.testing.assert_array_equal(state["a"], np.ones(3))
    assert half.is_dir()
    Checkpoints(tmp_path).close()  # the next start of the training
    assert not half.exists()
    writer.close()


def test_a_training_is_not_disturbed_by_readers(tmp_path):
    writer = Checkpoints(tmp_path, keep=20)
    done = threading.Event()
    reads = []

    def read():
        while not done.is_set():
            reader = Checkpoints(tmp_path, read_only=True)
            if (step := reader.latest()) is not None:
                state, progress = reader.restore(step, {"a": jnp.zeros(3)})
                reads.append((step, float(state["a"][0]), progress["seconds"]))
            reader.close()

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for step in range(1, 9):
            writer.save(step, {"a": jnp.full(3, step)}, {"seconds": step}, {})
        writer.wait()
    finally:
        done.set()
        thread.join()
    assert writer.latest() == 8
    writer.close()
    assert reads
    assert all(step == value == seconds for step, value, seconds in reads)
