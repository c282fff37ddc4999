"""Schedules and optimizers against their formulas."""

import re
import typing

import jax.numpy as jnp
import numpy as np
import pytest

from fcn.training import OptimizerConfig, make_optimizer, make_schedule


@pytest.mark.parametrize(
    ("schedule", "middle"), [("constant", 0.1), ("cosine", 0.1 * 0.5 * (1 + np.cos(np.pi / 2))), ("poly", 0.1 * 0.5**0.9)]
)
def test_schedule_values(schedule, middle):
    rate = make_schedule(OptimizerConfig(learning_rate=0.1, schedule=schedule, warmup=0.2), 100)
    np.testing.assert_allclose([rate(0), rate(10), rate(20)], [0.1 / 20, 0.1 / 20 + 0.5 * (0.1 - 0.1 / 20), 0.1], rtol=1e-6)
    np.testing.assert_allclose(rate(60), middle, rtol=1e-5)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((name, value) for name in ("learning_rate", "weight_decay", "clip_norm") for value in (-1.0, float("inf"), 1e39)),
        *((name, value) for name in ("final", "warmup", "momentum") for value in (-0.1, 1.5, float("nan"))),
        ("learning_rate", 0.0),
        ("warmup", 1.0),
        ("clip_norm", float("nan")),
    ],
)
def test_the_optimizer_checks_its_numbers(field, value):
    with pytest.raises(
        ValueError, match=rf"^{field} is {re.escape(str(value))}; it must be (a finite number, )?(above|at least) 0"
    ):
        OptimizerConfig(**{field: value})


@pytest.mark.parametrize(
    ("config", "rates"),
    [
        ({"schedule": "step"}, {19: 0.09525, 20: 0.1, 49: 0.1, 50: 0.01, 74: 0.01, 75: 0.001, 100: 0.001}),
        ({"schedule": "step", "milestones": (0.1, 0.6, 0.6), "gamma": 0.5}, {20: 0.05, 59: 0.05, 60: 0.0125}),
        ({"schedule": "exponential", "final": 0.01}, {20: 0.1, 60: 0.01, 100: 0.001}),
        ({"schedule": "one-cycle"}, {0: 0.1 / 25, 10: (0.1 + 0.1 / 25) / 2, 20: 0.1, 60: (0.1 + 4e-7) / 2, 100: 4e-7}),
    ],
)
def test_schedules_that_fall_at_milestones_exponentially_or_after_a_rise(config, rates):
    rate = make_schedule(OptimizerConfig(learning_rate=0.1, warmup=0.2, **config), 100)
    np.testing.assert_allclose([rate(step) for step in rates], list(rates.values()), rtol=1e-4)


def test_an_exponential_schedule_ends_above_zero():
    with pytest.raises(ValueError, match=r"final is 0\.0; an exponential schedule ends above 0"):
        OptimizerConfig(schedule="exponential")


@pytest.mark.parametrize("schedule", ["cosine", "poly"])
def test_the_final_rate(schedule):
    rate = make_schedule(OptimizerConfig(learning_rate=0.1, schedule=schedule, final=0.25), 100)
    np.testing.assert_allclose([rate(5), rate(100)], [0.1, 0.025], rtol=1e-6)


def test_every_optimizer_can_be_built():
    for name in typing.get_args(typing.get_type_hints(OptimizerConfig)["name"]):
        assert make_optimizer(OptimizerConfig(name, weight_decay=0.5), 10).update


@pytest.mark.parametrize("name", ["adamw", "sgd", "adam", "lars", "adafactor"])  # each has its decay in another way
def test_decay_reaches_kernels_only(name):
    params = {"conv": {"kernel": jnp.full((1, 1), 2.0), "bias": jnp.full(1, 2.0)}, "bn": {"scale": jnp.full(1, 2.0)}}
    zeros = {"conv": {"kernel": jnp.zeros((1, 1)), "bias": jnp.zeros(1)}, "bn": {"scale": jnp.zeros(1)}}
    tx = make_optimizer(OptimizerConfig(name, learning_rate=0.1, weight_decay=0.5, schedule="constant", warmup=0.0), 10)
    updates, _ = tx.update(zeros, tx.init(params), params)
    if name in ("adamw", "sgd", "adafactor"):
        np.testing.assert_allclose(updates["conv"]["kernel"], -0.1 * 0.5 * 2.0, rtol=1e-6)
    assert float(updates["conv"]["kernel"][0, 0]) < 0.0
    assert float(updates["conv"]["bias"][0]) == 0.0
    assert float(updates["bn"]["scale"][0]) == 0.0


def test_the_decay_of_adafactor_follows_the_learning_rate():
    config = {"learning_rate": 0.1, "weight_decay": 0.5, "warmup": 0.0}
    params, zeros, found = {"kernel": jnp.full((1, 1), 2.0)}, {"kernel": jnp.zeros((1, 1))}, {}
    for name in ("adafactor", "adamw"):
        tx = make_optimizer(OptimizerConfig(name, **config), 4)
        state, found[name] = tx.init(params), []
        for _ in range(3):
            updates, state = tx.update(zeros, state, params)
            found[name].append(updates["kernel"].item())
    np.testing.assert_allclose(found["adafactor"], found["adamw"], rtol=1e-6)
    np.testing.assert_allclose(found["adafactor"][::2], [-0.1, -0.05], rtol=1e-6)


def test_values_by_their_place_are_those_of_before_and_others_come_after_them():
    config = OptimizerConfig("sgd", 0.1, "poly", 0.2, 0.3, 0.4, 0.5, 0.6)
    assert (config.warmup, config.weight_decay, config.momentum, config.clip_norm) == (0.3, 0.4, 0.5, 0.6)


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("adam", 1.0),
        ("adamax", 1.0),
        ("lion", 1.0),
        ("sign_sgd", 1.0),
        ("adagrad", 2 / np.sqrt(4.1)),
        ("rmsprop", 2 / np.sqrt(0.4)),
    ],
)
def test_the_first_step_of_an_optimizer_is_its_formula_s(name, step):
    tx = make_optimizer(OptimizerConfig(name, learning_rate=0.1, weight_decay=0.0, schedule="constant", warmup=0.0), 10)
    params = {"kernel": jnp.ones(2)}
    updates, _ = tx.update({"kernel": jnp.array([2.0, -2.0])}, tx.init(params), params)
    np.testing.assert_allclose(updates["kernel"], [-0.1 * step, 0.1 * step], rtol=1e-5)


def test_biases_learn_at_a_rate_of_their_own():
    tx = make_optimizer(OptimizerConfig("sgd", learning_rate=0.1, bias_rate=2.0, schedule="constant", warmup=0.0), 10)
    params = {"conv": {"kernel": jnp.zeros(1), "bias": jnp.zeros(1)}}
    updates, _ = tx.update({"conv": {"kernel": jnp.ones(1), "bias": jnp.ones(1)}}, tx.init(params), params)
    np.testing.assert_allclose([updates["conv"][name][0] for name in ("kernel", "bias")], [-0.1, -0.2], rtol=1e-6)


def test_sgd_with_momentum_is_the_textbooks():
    tx = make_optimizer(
        OptimizerConfig("sgd", learning_rate=0.1, momentum=0.9, weight_decay=0.0, schedule="constant", warmup=0.0), 10
    )
    params, gradient = {"kernel": jnp.ones(1)}, {"kernel": jnp.full(1, 2.0)}
    state, velocity = tx.init(params), 0.0
    for _ in range(3):
        updates, state = tx.update(gradient, state, params)
        velocity = 0.9 * velocity + 2.0
        np.testing.assert_allclose(updates["kernel"], -0.1 * velocity, rtol=1e-6)


def test_clip_norm_scales_the_gradient():
    plain = {"momentum": 0.0, "weight_decay": 0.0, "schedule": "constant", "warmup": 0.0}
    tx = make_optimizer(OptimizerConfig("sgd", learning_rate=1.0, **plain, clip_norm=1.0), 10)
    params = {"kernel": jnp.zeros(2)}
    updates, _ = tx.update({"kernel": jnp.array([3.0, 4.0])}, tx.init(params), params)
    np.testing.assert_allclose(updates["kernel"], [-0.6, -0.8], rtol=1e-6)


@pytest.mark.parametrize(("field", "value"), [("learning_rate", 0.0), ("warmup", 1.0), ("momentum", 1.0), ("clip_norm", 0.0)])
def test_impossible_values_are_refused(field, value):
    with pytest.raises(ValueError, match=field):
        OptimizerConfig(**{field: value})
