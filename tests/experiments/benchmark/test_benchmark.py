"""The benchmark's command, its file and its figures."""

import dataclasses
import json
import sys
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fcn
from experiments.benchmark import jax_work
from experiments.benchmark import records as benchmark_records
from experiments.benchmark.__main__ import BenchmarkConfig, find_cases, main, plan
from experiments.benchmark.case import Case
from experiments.benchmark.race import Result, Runner, race
from experiments.benchmark.records import Compared, Records
from experiments.benchmark.report import describe, draw, growth, line, table

CASE = Case("unet/resnet18", "train", 64, 2)


def result(side, *seconds, **facts):
    facts = {"peak_bytes": 3 * 2**20, "resident_bytes": 2**20, "compile_seconds": 1.5} | facts
    return Result(side, list(seconds), facts)


RESULTS = [
    result("fcn", 0.1, 0.3, 0.2, gflop=10.0),
    result("fcn_sharded", 0.13, gflop=10.0),
    result("flax", 0.8),
    result("torch", 0.5),
    result("torch_channels_last", 0.4, 0.25),
    Result("torch_compile", error="RuntimeError: no compiler"),
    result("torch_autocast", 0.26),
]


def test_ratios_are_to_the_fastest_setting_in_the_same_type():
    compared = Compared(CASE, {r.side: r for r in RESULTS})
    assert compared.rival.side == "torch_channels_last"  # a median of 0.325 s
    assert compared.ours.side == "fcn_sharded" and compared.ratio() == pytest.approx(0.13 / 0.325)
    assert compared.ratio("fcn") == pytest.approx(0.2 / 0.325)
    assert compared.ratio("flax") == pytest.approx(0.8 / 0.325)
    assert compared.ratio("torch_autocast") == pytest.approx(0.26 / 0.325)
    assert compared.ratio("torch_compile") is None
    assert "130.0 ms (fcn_sharded); 325.0 ms (torch_channels_last), ratio 0.40" in line(compared)
    assert "no compiler" in line(compared)
    cells = [cell.strip() for cell in table([compared], ceiling=200.0).splitlines()[2].split("|")[1:-1]]
    assert cells == [
        *("unet/resnet18 train 2 x 64²", "130.0", "fcn_sharded", "325.0", "torch_channels_last", "0.40", "0.62", "0.40"),
        *("2.46", "0.80", "77", "38%", "3", "3", "1.5"),
    ]


def test_the_faster_of_our_settings_counts(tmp_path):
    """The other's ratio stands beside it, in the picture as well."""
    divided, alone = (Compared(CASE, {r.side: r for r in (*RESULTS, result("fcn", t))}) for t in (0.2, 0.1))
    assert (divided.ours.side, alone.ours.side) == ("fcn_sharded", "fcn")
    assert alone.ratio() == alone.ratio("fcn") == pytest.approx(0.1 / 0.325)
    assert alone.ratio("fcn_sharded") == divided.ratio() == pytest.approx(0.13 / 0.325)
    assert Compared(CASE, {}).ours is None
    (picture,) = draw([divided, alone, Compared(CASE, {})], tmp_path)
    assert picture == tmp_path / "benchmark_train.png" and picture.stat().st_size > 10_000


def test_growth_finds_a_line():
    """10 ms and 2 ns a pixel, 5 MiB and 7 bytes, exactly, from 128 pixels up; sides of fewer than three sizes have none."""
    sizes = (64, 128, 256, 512, 1024)
    seconds = [0.7, *(0.01 + 2e-9 * 2 * size**2 for size in sizes[1:])]
    peaks = [9 * 2**20, *(5 * 2**20 + 7 * 2 * size**2 for size in sizes[1:])]
    rows = [
        Compared(
            dataclasses.replace(CASE, size=size),
            {
                "fcn": result("fcn", t, peak_bytes=peak),
                "torch": result("torch", t * (1 + (size == 512)), peak_bytes=peak * (1 + (size == 256))),
            },
        )
        for size, t, peak in zip(sizes, seconds, peaks)
    ]
    exact, bent = growth(rows)
    expected = "10.0 ms + 2 ns a pixel, within 0 %; 5.0 MiB + 7 bytes a pixel, within 0 %"
    assert exact == f"unet/resnet18 train from 128²: {expected} (fcn)"
    assert bent.endswith("(torch)") and "within 0 %" not in bent
    assert growth(rows[:2]) == growth(rows[:3]) == []


def test_records_keep_earlier_results_and_newer_ones_take_their_place(tmp_path):
    path = tmp_path / "benchmark.json"
    other = dataclasses.replace(CASE, size=128)
    Records(path).add(CASE, RESULTS)
    records = Records(path)
    records.add(other, [result("fcn", 1.0)])
    records.add(CASE, [result("torch", 0.01)])
    known = Records(path)
    assert known.has(CASE, [given.side for given in RESULTS]) and not known.has(dataclasses.replace(CASE, batch=3), ["fcn"])
    assert known.has(other, ["fcn"]) and not known.has(other, ["fcn", "torch"])
    known.add(other, [Result("torch", error="the process ended with status -9")])
    assert known.has(other, ["fcn"]) and not known.has(other, ["fcn", "torch"])
    first, second = known.results([CASE, other])
    assert first.rival == result("torch", 0.01) and first.results["flax"] == RESULTS[2]
    assert second.rival is None and second.ratio() is None
    (chosen,) = known.results([CASE], ["fcn", "torch_compile"])
    assert list(chosen.results) == ["fcn", "torch_compile"] and chosen.ours.side == "fcn" and chosen.rival is None
    assert list(tmp_path.iterdir()) == [path]


def test_the_ceiling_is_the_fastest_matrix_product(tmp_path):
    records = Records(tmp_path / "benchmark.json")
    assert records.ceiling("float32") is None
    product = Case("matrix_product", "forward", 2048, 1)
    records.add(product, [result("fcn", 0.1), result("torch", 0.08)])
    assert records.ceiling("float32") == pytest.approx(2 * 2048**3 / 0.08 / 1e9)


def test_an_accelerator(tmp_path, monkeypatch):
    """It is named, and its matrix product is larger."""
    monkeypatch.setattr(benchmark_records, "accelerator", lambda: "NVIDIA H200")
    records = Records(tmp_path / "benchmark.json")
    product = Case("matrix_product", "forward", 8192, 1, "bfloat16")
    assert records.product("bfloat16") == product
    records.add(product, [result("fcn", 0.002)])
    assert records.ceiling("bfloat16") == pytest.approx(2 * 8192**3 / 0.002 / 1e9)
    assert describe(records).startswith("NVIDIA H200 (")


def test_what_a_program_takes_of_an_accelerator(monkeypatch):
    """Two arguments and one more result: the other takes the place of what is donated."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    compiled = jax.jit(lambda x, y: (x + 1, y @ y), donate_argnums=0).lower(*[jnp.zeros((64, 64))] * 2).compile()
    memory = jax_work._memory(compiled)()
    assert memory["resident_bytes"] == 2 * 64 * 64 * 4
    temporary = compiled.memory_analysis().temp_size_in_bytes
    assert memory["peak_bytes"] - temporary == pytest.approx(3 * 64 * 64 * 4, abs=64)  # and a tuple of addresses
    monkeypatch.undo()
    assert jax_work._memory(compiled) is None


def test_a_file_of_someone_else_is_left_alone(tmp_path):
    path = tmp_path / "benchmark.json"
    path.write_text('["mine"]')
    with pytest.raises(ValueError, match=r"benchmark.json is not a file of this benchmark; move it away"):
        Records(path)
    assert path.read_text() == '["mine"]'


def test_names_and_patterns():
    config = BenchmarkConfig(models=("resnet1*", "unet", "unet/resnet18", "unet"), size=(32, 64))
    names = [(case.name, case.size) for case in find_cases(config, "train")]  # each once
    expected = ("resnet101", "resnet152", "resnet18", "unet", "unet/resnet18")
    assert names == [(name, size) for name in expected for size in (32, 64)]
    with pytest.raises(ValueError, match="unknown model or encoder 'resnet43'; did you mean 'resnet34'"):
        find_cases(BenchmarkConfig(models=("unet/resnet43",)), "train")
    own = find_cases(BenchmarkConfig(models=("resnet1*", "unet"), batch=(8, 4)), "train")
    assert [(case.name, case.batch) for case in own] == [("resnet101", 8), ("resnet152", 8), ("resnet18", 8), ("unet", 4)]
    some = find_cases(BenchmarkConfig(models=("unet", "unet*"), batch=(8, 4)), "train")
    assert [(case.name, case.batch) for case in some] == [("unet", 8), ("unet2015", 4), ("unetplusplus", 4)]
    for batch in ((0,), (2, 3), ()):
        with pytest.raises(
            ValueError, match=r"batch is .*; (give one number or 6, one for each of the models|it must be at least 1)"
        ):
            BenchmarkConfig(batch=batch)


def test_it_says_what_it_will_do_and_for_how_long():
    cases = [CASE] * 12
    said = plan(cases, BenchmarkConfig())
    assert said.startswith("12 cases by 7 sides in 7 rounds: roughly 51 min on two processors; results: runs/benchmark\n")
    assert "--missing" in said
    quick = plan(cases[:1], BenchmarkConfig(sides=("fcn",), rounds=1, what=("forward", "startup")))
    assert quick.startswith("1 case by 1 side in 1 round, startup: roughly 3 min")
    assert plan([], BenchmarkConfig(missing=True)) == "nothing is missing"


def test_a_side_that_cannot_says_why():
    (given,) = race(Case("resnet19", "forward", 32, 1), ["fcn"], 1)
    assert "unknown model 'resnet19'" in given.error and not given.seconds and given.complete
    (given,) = race(Case("resnet20_cifar", "forward", 32, 1), ["fcn_sharded"], 1)
    assert "a batch of 1 cannot be divided among the devices" in given.error and not given.seconds


def test_a_side_that_ends_early_says_so(monkeypatch):
    """Before it reads its case, in its first turn, in a later one, whose times do not count then, or at its end."""
    monkeypatch.setattr("experiments.benchmark.race.Runner", Ended)
    *ended, steady = race(CASE, [*Ended.ANSWERS], 3)
    for result in ended:
        assert result.error == "the process ended with status 3" and not result.seconds and not result.complete
    assert steady.error is None and len(steady.seconds) == 3 and "peak_bytes" in steady.facts and steady.complete


class Ended(Runner):
    """A contestant that ends after some answers: the case's, the first turn's, two of each round, that of its memory."""

    ANSWERS: ClassVar = {"torch": 0, "torch_compile": 1, "flax": 5, "fcn_sharded": 8, "fcn": 9}

    def __init__(self, side):
        program = f"""
import sys
for _, line in zip(range({self.ANSWERS[side]}), sys.stdin):
    print('{{"seconds": 0.3}}' if "repeats" in line else '{{"peak_bytes": 1}}', flush=True)
sys.exit(3)
"""
        self._start([sys.executable, "-c", program])


@pytest.fixture
def small(monkeypatch):
    """Four layers in place of twenty: their compilation takes the time."""
    encoder = fcn.create_encoder("vgg11_bn", width_multiplier=1 / 16, depth=3)
    monkeypatch.setattr(jax_work, "_build", lambda case: encoder)


@pytest.mark.parametrize("what", ["forward", "train"])
def test_a_divided_batch_is_the_same_work(what, small, monkeypatch):
    """On the eight devices of the tests: two images each; maps, or parameters, statistics, gradients and loss, as on one.

    In float32 a ReLU near zero may fall on either side, 1.4e-3 of the gradients with JAX 0.12; a wrong share is of order 1.
    """
    done = []

    def call(function, *arguments):
        devices = [len(leaf.sharding.device_set) for leaf in jax.tree.leaves(arguments)]
        share = jax.tree.leaves(arguments[1])[0].addressable_shards[0].data.shape
        result = jax.device_get(function(*arguments))
        if what == "train":
            state, loss = result
            result = state.params, state.model_state, state.opt_state, loss  # the momentum after one step is the gradient
        done.append((set(devices), share, [np.concatenate([*map(np.ravel, jax.tree.leaves(part))]) for part in result]))
        return None, {}

    monkeypatch.setattr(jax_work, "_compile", call)
    for side in ("fcn", "fcn_sharded"):
        jax_work.jax_work(Case("resnet20_cifar", what, 32, 16), side)
    (alone, whole, expected), (divided, part, given) = done
    assert (alone, whole) == ({1}, (16, 32, 32, 3)) and (divided, part) == ({8}, (2, 32, 32, 3))
    for one, other in zip(expected, given, strict=True):
        assert np.linalg.norm(one) > 0 and np.linalg.norm(other - one) <= 5e-3 * np.linalg.norm(one)


def test_training_is_repeated(small):
    torch_work = pytest.importorskip("experiments.benchmark.torch_work", reason="PyTorch: install '.[parity]'").torch_work
    case = Case("resnet20_cifar", "train", 32, 1)
    ours, theirs = jax_work.jax_work(case, "fcn"), torch_work(case, "torch")
    for work in (ours, theirs):
        work.run(2)
        assert work.facts["compile_seconds"] >= 0
    forward = jax_work.jax_work(dataclasses.replace(case, what="forward"), "fcn")
    assert ours.facts["gflop"] == pytest.approx(3 * forward.facts["gflop"])


def test_command(type_command, tmp_path):
    """Of one case; what the machine can do is known already."""
    pytest.importorskip("torch", reason="the benchmark compares with PyTorch: install '.[parity]'")
    records = Records(tmp_path / "benchmark.json")
    records.add(records.product("float32"), [result("fcn", 0.1), result("torch", 0.1)])
    words = "--models resnet20_cifar --batch 1 --size 32 --rounds 2 --sides fcn torch --what forward --out".split()
    done = type_command("experiments.benchmark", *words, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "| resnet20_cifar forward 1 x 32² |" in done.stdout
    content = json.loads((tmp_path / "benchmark.json").read_text())
    assert ("accelerator" in content["machine"]) == (jax.default_backend() != "cpu")
    assert content["machine"]["processors"] >= 1 and {"jax", "torch"} <= content["machine"].keys()
    measured = content["cases"][1]["results"]
    assert measured.keys() == {"fcn", "torch"}
    for value in measured.values():
        assert len(value["seconds"]) == 2 and min(value["seconds"]) > 0
        assert value["facts"]["peak_bytes"] >= value["facts"]["resident_bytes"] > 0
    facts = measured["fcn"]["facts"]
    assert facts["compile_seconds"] > 0 and 0.07 < facts["gflop"] < 0.09  # 41 M multiplications and additions


def test_several_cases_and_those_that_are_missing(tmp_path, monkeypatch, capsys):
    cases = {"models": ("resnet20_cifar",), "batch": (1,), "size": (32,)}
    config = BenchmarkConfig(**cases, rounds=2, sides=("fcn", "torch"), out=tmp_path, missing=True)
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    monkeypatch.setattr(
        "experiments.benchmark.race.race", lambda case, sides, rounds: [result(side, *[0.1] * rounds) for side in sides]
    )
    main(config)
    said = capsys.readouterr().out
    assert said.startswith("2 cases by 2 sides in 2 rounds: roughly 1 min") and "min to go" in said
    assert "| resnet20_cifar forward 1 x 32² |" in said and "| resnet20_cifar train 1 x 32² |" in said
    for picture in ("benchmark_forward.png", "benchmark_train.png"):
        assert (tmp_path / picture).stat().st_size > 5000
    measured = (tmp_path / "benchmark.json").read_bytes()
    monkeypatch.setattr("experiments.benchmark.race.race", None)
    main(config)
    assert capsys.readouterr().out.startswith("nothing is missing")
    assert json.loads((tmp_path / "benchmark.json").read_bytes())["cases"] == json.loads(measured)["cases"]
