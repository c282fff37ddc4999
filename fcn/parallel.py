"""Running one pure step on one device, on many, or on several hosts; the only file that names `Mesh` or `pmap`.

Both ways take the same step and give the same numbers up to rounding (dropout aside):

* `Sharded`: `jit` over a mesh with axes `("data", "height")`. The batch is split, everything else is replicated, and XLA
  inserts the communication, so that BatchNorm and losses see the global batch. On CPUs its steps have `compiler_options`, with
  which they cannot be part of another `jit`.
* `Pmapped`: `pmap` over an axis `"data"`. The model is built with `axis_name="data"` so that BatchNorm synchronises, and the
  loss sums its terms over that axis.
"""

import atexit
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from fcn.environment import accepted, order_with_little_memory
from fcn.errors import first_line

Device = Any
"""`jax.Device`, which type checkers do not take for a type."""
AXIS = "data"
_LOST = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "CANCELLED")
_PERHAPS_LOST = ("INTERNAL", "UNKNOWN", "FAILED_PRECONDITION")
_BETWEEN_PROCESSES = re.compile("gloo|nccl|connection|coordination service", re.IGNORECASE)
SECONDS_TO_BE_MISSED = 60
"""A process of several that was silent for so long is taken for dead, and so is one that others wait for at their end."""


class Sharded:
    """`jit` + `NamedSharding` over `devices`; the image height may be split as well (`height` devices to an image).

    With `shard_params` each device keeps its share of the parameters, of the optimizer's state and of averages, and a step
    collects the parameters when it begins (Rajbhandari et al., "ZeRO", SC 2020, section 5). Arrays no axis of which divides
    by the devices are whole on each.

    Raises:
      ValueError: the number of devices does not divide by `height`, or the devices of an image are of several hosts.
    """

    axis_name: str | None = None

    def __init__(self, devices: Sequence[Device] | None = None, *, height: int = 1, shard_params: bool = False):
        devices = jax.devices() if devices is None else list(devices)
        if height < 1 or len(devices) % height:
            raise ValueError(f"height={height} does not divide the {len(devices)} devices; 1 always does")
        grid = np.array(devices).reshape(-1, height)
        if any(len({device.process_index for device in row}) > 1 for row in grid):  # each host reads whole images
            raise ValueError(f"height={height} divides images among several hosts; it must divide the devices of each host")
        self.mesh = Mesh(grid, (AXIS, "height"), axis_types=(AxisType.Auto, AxisType.Auto))
        self.size = grid.shape[0]
        self.shard_params = shard_params
        self._replicated = NamedSharding(self.mesh, PartitionSpec())
        self._collect = jax.jit(lambda state: state, out_shardings=self._replicated)

    def put_state(self, state: PyTree) -> PyTree:
        """Copies `state` to every device, or divides it among them."""
        return jax.device_put(state, self._layout(state))

    def _layout(self, state: PyTree) -> PyTree:
        """How each array of a state lies on the devices."""
        if not self.shard_params:
            return self._replicated

        def divided(x):
            sides = [(side, axis) for axis, side in enumerate(np.shape(x)) if side and side % self.size == 0]
            spec = [None] * max(sides)[1] + [AXIS] if sides else []  # the longest side
            return NamedSharding(self.mesh, PartitionSpec(*spec))

        return jax.tree.map(divided, state)

    def get_state(self, state: PyTree) -> PyTree:
        """The state as it is checkpointed: one copy."""
        return state

    def whole(self, state: PyTree) -> PyTree:
        """The state, or a part of it, with every array whole on each device; all processes must ask for it."""
        return self._collect(state) if self.shard_params else state

    def restorable(self, state: PyTree) -> PyTree:
        """A new `state` as the template of what is restored: where the devices of all hosts want it."""
        return self.put_state(state)

    def put_batch(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        """Splits this process's share [b, ...] of the batch over its devices."""

        def sharding(array):
            split_height = array.ndim >= 3 and self.mesh.shape["height"] > 1
            return NamedSharding(self.mesh, PartitionSpec(AXIS, "height") if split_height else PartitionSpec(AXIS))

        shardings = {name: sharding(array) for name, array in batch.items()}
        return jax.make_array_from_process_local_data(shardings, batch)

    def train_step(self, step: Callable, program: Callable[[Callable], Callable] = lambda step: step) -> Callable:
        """Compiles `(state, batch) -> (state, metrics)`; the state's buffers are reused.

        Args:
          step: a step, of a `TrainState` where parameters are divided.
          program: makes of it what is compiled, such as `fcn.training.scanned`.
        """
        if self.shard_params:
            return self._compile(program(self._collecting(step)), donate_argnums=0)
        return self._compile(program(step), donate_argnums=0, out_shardings=(self._replicated, self._replicated))

    def _collecting(self, step: Callable) -> Callable:
        """`step` with the network's variables whole in it, whose results lie as its state did."""

        def collecting(state, batch):
            variables = jax.lax.with_sharding_constraint((state.params, state.model_state), self._replicated)
            new, metrics = step(state.replace(params=variables[0], model_state=variables[1]), batch)
            return jax.lax.with_sharding_constraint((new, metrics), (self._layout(new), self._replicated))

        return collecting

    def eval_step(self, step: Callable) -> Callable:
        """Compiles `(variables, batch) -> array`."""

        def collecting(variables, batch):
            return step(jax.lax.with_sharding_constraint(variables, self._replicated), batch)

        return self._compile(collecting if self.shard_params else step, out_shardings=self._replicated)

    def _compile(self, step: Callable, **arguments) -> Callable:
        return jax.jit(step, compiler_options=compiler_options(self.mesh.devices.flat), **arguments)

    def read(self, value: PyTree) -> Any:
        """A step's metrics as NumPy, once it is done: copies requested earlier slow a CPU's steps by 2 percent."""
        return jax.device_get(jax.block_until_ready(value))


class Pmapped:
    """`pmap` over `devices`, with the same methods as `Sharded`."""

    axis_name: str | None = AXIS

    def __init__(self, devices: Sequence[Device] | None = None):
        self._named = None if devices is None else list(devices)  # None: those of all processes
        self.devices = self._named or jax.local_devices()
        self.size = len(self.devices) * jax.process_count()
        mesh = Mesh(np.array(self.devices), (AXIS,), axis_types=(AxisType.Auto,))
        self._stacked = NamedSharding(mesh, PartitionSpec(AXIS))

    def put_state(self, state: PyTree) -> PyTree:
        """Copies `state` to every device, along a new leading axis."""
        n = len(self.devices)
        return jax.tree.map(lambda x: jax.device_put(np.broadcast_to(x, (n, *np.shape(x))), self._stacked), state)

    def get_state(self, state: PyTree) -> PyTree:
        """The first device's copy."""
        return jax.tree.map(lambda x: np.asarray(x.addressable_shards[0].data)[0], state)

    def whole(self, state: PyTree) -> PyTree:
        """One copy of the state, or of a part of it, as `get_state` gives it."""
        return self.get_state(state)

    def restorable(self, state: PyTree) -> PyTree:
        """A new `state` as the template of what is restored: one copy, on the host, as `get_state` gives it."""
        return jax.tree.map(np.asarray, state)

    def put_batch(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        """Splits this process's share [b, ...] of the batch into [devices, b / devices, ...]."""
        n = len(self.devices)
        return {name: jax.device_put(x.reshape(n, -1, *x.shape[1:]), self._stacked) for name, x in batch.items()}

    def train_step(self, step: Callable, program: Callable[[Callable], Callable] = lambda step: step) -> Callable:
        """Compiles `(state, batch) -> (state, metrics)`; the state's buffers are reused. Arguments: see `Sharded`."""
        return jax.pmap(program(step), AXIS, devices=self._named, donate_argnums=0)

    def eval_step(self, step: Callable) -> Callable:
        """Compiles `(variables, batch) -> array`."""
        return jax.pmap(step, AXIS, devices=self._named)

    def read(self, value: PyTree) -> Any:
        """The first device's metrics as NumPy, once the step is done; all devices hold the same."""
        return self.get_state(jax.block_until_ready(value))


def make_parallel(
    kind: str,
    batch_size: int,
    devices: Sequence[Device] | None = None,
    *,
    data: int | None = None,
    height: int = 1,
    shard_params: bool = False,
):
    """The way to run that `kind` names, after checking that the global batch divides by the devices.

    Args:
      kind: "jit" or "pmap".
      batch_size: images in a global batch.
      devices: those to use; all by default.
      data: over so many of them batches are divided, and
      height: over so many the rows of each image; where `data` is given, the first `data * height` are used.
      shard_params: whether parameters are divided, too; see `Sharded`.

    Raises:
      ValueError: an unknown kind, a batch that does not divide, fewer devices than asked for, or rows or parameters to divide
        with pmap.
    """
    if kind not in ("jit", "pmap"):
        raise ValueError(f"unknown parallel {kind!r}; it is 'jit' or 'pmap'")
    if kind == "pmap" and height > 1:
        raise ValueError(f"height is {height}, but pmap divides batches only; use jit to divide images")
    if kind == "pmap" and shard_params:
        raise ValueError("pmap keeps all parameters on each device; use jit to divide them (shard_params)")
    if data is not None:
        devices = _first(data * height, devices)
    parallel = Sharded(devices, height=height, shard_params=shard_params) if kind == "jit" else Pmapped(devices)
    if batch_size % parallel.size:
        lower, n = batch_size // parallel.size * parallel.size, parallel.size
        nearest = f"{lower} or {lower + n}" if lower else f"{n}"
        raise ValueError(f"a batch of {batch_size} does not divide by the {n} devices; the nearest that do: {nearest}")
    return parallel


def _first(count: int, devices: Sequence[Device] | None) -> Sequence[Device] | None:
    """So many of the devices, None as before where that is all; of those of several processes none may be left out."""
    there = jax.devices() if devices is None else devices
    if count > len(there):
        raise ValueError(f"the mesh takes {count} devices, but there are {len(there)}")
    if count < len(there) and jax.process_count() > 1:
        raise ValueError(f"the mesh takes {count} of the {len(there)} devices; on several hosts it takes all of them")
    return devices if count == len(there) else there[:count]


def compiler_options(devices: Iterable[Device]) -> dict[str, str]:
    """For the outermost `jax.jit`: `jax.jit(model.apply, compiler_options=fcn.parallel.compiler_options(jax.devices()))`.

    XLA lets a CPU compute whatever it can as early as it can, and keeps all of it until it is wanted. With these options it
    chooses an order of operations that needs little memory, at about the same speed: forward passes take a third of the
    temporary memory, training steps 40 percent to all of it. Accelerators keep XLA's own order. JAX refuses a function with
    options inside of another `jit`.
    """
    if any(device.platform != "cpu" for device in devices):
        return {}
    return order_with_little_memory()


def sharing_devices(batch_size: int) -> list[Device]:
    """As many of this process's devices as a batch can be divided among evenly; at least one."""
    return jax.local_devices()[: math.gcd(batch_size, jax.local_device_count())]


def start_processes(coordinator: str | None, process_count: int | None, process_id: int | None) -> None:
    """Joins this process to the others of a run on several hosts (`jax.distributed.initialize`).

    With all three None nothing happens. On Slurm, Kubernetes and Cloud TPU, JAX finds missing ones by itself: pass
    `coordinator="auto"`. When one of them dies the others end, after `SECONDS_TO_BE_MISSED` if they do not notice it before.
    """
    if coordinator is None and process_count is None and process_id is None:
        return
    address = None if coordinator == "auto" else coordinator
    seconds: dict[str, Any] = {f"{kind}_timeout_seconds": SECONDS_TO_BE_MISSED for kind in ("heartbeat", "shutdown")}
    seconds = accepted(jax.distributed.initialize, **seconds)
    jax.distributed.initialize(address, process_count, process_id, **seconds)


def leave() -> None:
    """Makes this process, when it exits, end with status 1 and not wait for the others of its run, one of which is lost.

    The first, by which the others are told, goes a little later than they do.
    """

    def end():
        sys.stdout.flush()
        sys.stderr.flush()
        time.sleep(5 if jax.process_index() == 0 else 0)
        os._exit(1)

    atexit.register(end)


def lost_process(error: Exception) -> str | None:
    """The sentence for an error of JAX that in a run on several hosts comes from another process's end; None for others."""
    text = str(error)
    lost = text.startswith(_LOST) or (text.startswith(_PERHAPS_LOST) and _BETWEEN_PROCESSES.search(text))
    if jax.process_count() == 1 or not lost:
        return None
    return f"another of the {jax.process_count()} processes of this run ended or cannot be reached ({first_line(text)})"


def synchronize(name: str) -> None:
    """Waits until every process of a run on several hosts has come to the place called `name`; at once where there is one."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def stop_together(step: int) -> bool:
    """Whether the processes of a run on several hosts stop after `step`, one having got SIGTERM; all ask after each step.

    Numbers must follow one another: where several steps are one program, those of the programs do.
    """
    from jax.experimental import multihost_utils

    return multihost_utils.reached_preemption_sync_point(step)
