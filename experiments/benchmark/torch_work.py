"""A case for PyTorch."""

import contextlib
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from experiments.benchmark.case import CLASSES, Case, Side, Work
from experiments.benchmark.references import reference_network


def torch_work(case: Case, side: Side) -> Work:
    """Builds a case, and compiles it where the side does.

    Raises:
      NoReference: no PyTorch network stands beside it.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True  # as XLA, it tries out what is fast for a shape
    torch.manual_seed(0)
    if case.name == "matrix_product":
        return _matrix_product(case, device)
    layout = torch.contiguous_format if side == "torch" else torch.channels_last
    net: Any = reference_network(case.model, case.encoder, CLASSES, case.size).to(device)
    images = torch.randn(case.batch, 3, case.size, case.size, device=device)
    with torch.no_grad():
        result = net.eval()(images[:1])  # lazy layers find their channels
    outputs = _outputs(result)
    labels = torch.randint(0, CLASSES, (case.batch, *outputs[0].shape[2:]), device=device)
    net, images = net.to(memory_format=layout), images.to(memory_format=layout)
    reduced = case.dtype == "bfloat16" or side == "torch_autocast"
    precision = torch.autocast(device, torch.bfloat16) if reduced else contextlib.nullcontext()
    compiled = torch.compile(net) if side == "torch_compile" else net
    segments = len(outputs) == 1 or isinstance(result, dict)

    def forward():
        with torch.inference_mode(), precision:
            compiled(images)

    def train():
        with precision:
            found = [output.float() for output in _outputs(compiled(images))]
        if segments:
            losses = [F.cross_entropy(logits, labels) for logits in found]
            loss: Any = losses[0] + 0.4 * sum(losses[1:])
        else:
            loss = sum((m**2).mean() for m in found)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    if case.what == "train":
        net.train()
        optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9, foreach=True)
    once = forward if case.what == "forward" else train
    start = time.perf_counter()
    once()
    seconds = time.perf_counter() - start

    facts = {"compile_seconds": seconds if side == "torch_compile" else 0.0}
    return Work(_repeating(once, device), facts, _memory(device))


def _matrix_product(case: Case, device: str) -> Work:
    matrix = torch.randn(case.size, case.size, dtype=getattr(torch, case.dtype), device=device)

    return Work(_repeating(lambda: matrix @ matrix, device), {"compile_seconds": 0.0}, _memory(device))


def _repeating(once: Callable[[], object], device: str):
    def run(repeats):
        for _ in range(repeats):
            once()
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def _memory(device: str):
    """What tensors take of an accelerator from now on."""
    if device == "cpu":
        return None
    torch.cuda.reset_peak_memory_stats()
    resident = torch.cuda.memory_allocated()
    return lambda: {"peak_bytes": torch.cuda.max_memory_allocated(), "resident_bytes": resident}


def _outputs(result):
    """The tensors of a result: logits and auxiliary logits, or maps."""
    if isinstance(result, dict):
        return list(result.values())
    return list(result) if isinstance(result, list | tuple) else [result]
