"""A case for this library, or for plain Flax layers in its place."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

import fcn.kernels
from experiments.benchmark.case import CLASSES, Case, Side, Work
from experiments.model_table import operations
from fcn.losses import cross_entropy
from fcn.parallel import Sharded, compiler_options, sharing_devices
from fcn.training import TrainState, create_state, make_train_step


def jax_work(case: Case, side: Side) -> Work:
    """Compiles a case.

    Raises:
      ValueError: the name is not known, or the batch cannot be divided among devices.
    """
    if case.name == "matrix_product":
        return _matrix_product(case)
    devices = jax.local_devices()[:1]
    if side == "fcn_sharded":
        devices = sharing_devices(case.batch)
        if len(devices) == 1:
            raise ValueError(f"a batch of {case.batch} cannot be divided among the devices, which are {jax.device_count()}")
    prepare = _train if case.what == "train" else _forward
    with fcn.kernels.use("xla" if side == "flax" else "auto"):
        return prepare(case, Sharded(devices))


def _matrix_product(case: Case) -> Work:
    matrix = jax.random.normal(jax.random.key(0), (case.size, case.size), case.dtype)
    compiled, facts = _compile(jax.jit(jnp.dot), matrix, matrix)
    return Work(_repeating(compiled, matrix, matrix), facts, _memory(compiled))


def _forward(case: Case, parallel: Sharded) -> Work:
    model, images = _build(case), _images(case)
    variables = create_state(model, optax.identity(), jax.random.key(0), images.shape[1:]).variables
    gflop = operations(model, variables, images) / 1e9
    variables, batch = parallel.put_state(variables), parallel.put_batch({"images": images})
    apply = jax.jit(model.apply, compiler_options=compiler_options(parallel.mesh.devices.flat))
    compiled, facts = _compile(apply, variables, batch["images"])
    return Work(_repeating(compiled, variables, batch["images"]), {**facts, "gflop": gflop}, _memory(compiled))


def _repeating(compiled, *arguments):
    def run(repeats):
        for _ in range(repeats - 1):
            compiled(*arguments)
        jax.block_until_ready(compiled(*arguments))

    return run


def _memory(compiled):
    """What a compiled function takes of an accelerator, as XLA laid it out."""
    if jax.default_backend() == "cpu":
        return None
    plan = compiled.memory_analysis()
    results = plan.output_size_in_bytes - plan.alias_size_in_bytes
    resident = plan.argument_size_in_bytes
    return lambda: {"peak_bytes": resident + results + plan.temp_size_in_bytes, "resident_bytes": resident}


def _train(case: Case, parallel: Sharded) -> Work:
    model, images = _build(case), _images(case)
    batch = {"images": images}
    tx = optax.sgd(1e-4, momentum=0.9)
    state = create_state(model, tx, jax.random.key(0), images.shape[1:])
    if case.model in fcn.list_models():
        size = jax.eval_shape(model.apply, state.variables, images).shape[1:3]
        batch["labels"] = np.random.default_rng(1).integers(0, CLASSES, (case.batch, *size), np.int32)
        step = make_train_step(model, tx, cross_entropy, lambda b: (b["images"], b["labels"]), key=jax.random.key(1))
    else:
        step = _encoder_step(model, tx)
    gflop = 3 * operations(model, state.variables, images) / 1e9  # both gradients are as much work again
    state, batch = parallel.put_state(state), parallel.put_batch(batch)
    compiled, facts = _compile(parallel.train_step(step), state, batch)

    def run(repeats):
        nonlocal state
        for _ in range(repeats):
            state, metrics = compiled(state, batch)
        jax.block_until_ready((state, metrics))

    return Work(run, {**facts, "gflop": gflop}, _memory(compiled))


def _encoder_step(model, tx):
    """An encoder alone has no loss; the sum of its maps' mean squares makes every kernel work."""

    def step(state, batch):
        def loss(params):
            variables = {"params": params, **state.model_state}
            maps, updates = model.apply(
                variables, batch["images"], train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(state.step)}
            )
            return sum(jnp.mean(m.astype(jnp.float32) ** 2) for m in maps), {**state.model_state, **updates}

        (value, model_state), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        return TrainState(state.step + 1, optax.apply_updates(state.params, updates), model_state, opt_state), value

    return step


def _build(case: Case):
    dtype = jnp.dtype(case.dtype)
    if case.encoder is None and case.name in fcn.list_encoders() and case.name not in fcn.list_models():
        return fcn.create_encoder(case.name, dtype=dtype)
    return fcn.create_model(case.model, num_classes=CLASSES, encoder=case.encoder, dtype=dtype)


def _images(case: Case):
    shape = (case.batch, case.size, case.size, 3)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def _compile(function, *arguments):
    start = time.perf_counter()
    compiled = function.lower(*arguments).compile()
    return compiled, {"compile_seconds": time.perf_counter() - start}
