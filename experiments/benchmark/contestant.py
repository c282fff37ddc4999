"""A process that makes a case ready and then does it as often as it is told: `python -m experiments.benchmark.contestant SIDE`.

It imports what its side needs. The first line that it reads then is the case, the first that it writes what is known of the
case, or why it cannot be done. It answers each {"repeats": n} with {"seconds": s}; an empty line ends it.
"""

import contextlib
import json
import os
import resource
import sys
import time
from functools import partial
from pathlib import Path


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    requests = iter(sys.stdin.readline, "")

    from experiments import command
    from experiments.benchmark.case import Case

    try:
        prepare = _preparation(sys.argv[1])
        work = prepare(Case(**json.loads(next(requests))))
        command.give_memory_back()  # that of compilation
        command.set_small_apart()
        before = _resident()
        _forget_peak()
        work.run(1)
        command.give_memory_back()  # what is smaller than the gap is not apart; this makes it rare that it is held twice
        work.run(1)
    except Exception as error:
        answers.write(json.dumps({"error": f"{type(error).__name__}: {error}".split("\n")[0]}) + "\n")
        return
    answers.write(json.dumps(work.facts) + "\n")
    for request in requests:
        if not request.strip():
            break
        start = time.perf_counter()
        work.run(json.loads(request)["repeats"])
        answers.write(json.dumps({"seconds": time.perf_counter() - start}) + "\n")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    own = {"peak_bytes": max(peak, before), "resident_bytes": before}
    answers.write(json.dumps(own if work.memory is None else work.memory()) + "\n")


def _preparation(side):
    """What makes a case ready for this side."""
    if side.startswith("torch"):
        from experiments.benchmark.torch_work import torch_work

        return partial(torch_work, side=side)

    import jax

    from experiments.benchmark.jax_work import jax_work

    # Computes in the calling thread, as PyTorch does: the memory of other threads goes back to the system every time.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    if side == "fcn_sharded":
        jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
    return partial(jax_work, side=side)


def _resident() -> int:
    """Bytes of memory that this process holds (Linux; 0 elsewhere)."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * resource.getpagesize() if statm.exists() else 0


def _forget_peak() -> None:
    """Makes the peak of this process's memory what it holds now (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    main()
