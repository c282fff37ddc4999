"""Which algorithm computes what: one ordered table, of which the first rule that matches is taken.

Figures are milliseconds of float32 on two processors, where nothing else is said, beside XLA's own: batch x side², channels to
features. Errors are the largest against float64, relative to the largest result, in float32 and in bfloat16, of a shape that
`tests/layers/test_accuracy.py` names. A rule stays if it removes a cliff of 3x for a layer or gains 10 % for a network of the
zoo, on a JAX that is supported; those for GPUs were measured on an H200.
"""

import contextlib
import contextvars
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jax import lax

from fcn.environment import platform_at_hand
from fcn.kernels import conditions as when
from fcn.kernels.call import Call, Layer, Operation, Platform


@dataclasses.dataclass(frozen=True)
class Rule:
    """An algorithm, and when it is taken.

    Attributes:
      layer: whose operation it is.
      operations: which of them.
      algorithm: its name.
      platforms: where.
      when: the condition; its docstring says it in words.
      gain: what it gains.
      cost: what it costs.
      error: in float32 and in bfloat16; none: that of XLA's own.
      until: the version of JAX that does not need it any more.
    """

    layer: Layer
    operations: tuple[Operation, ...]
    algorithm: str
    platforms: tuple[Platform, ...]
    when: Callable[[Call], bool]
    gain: str = ""
    cost: str = ""
    error: tuple[float, ...] = ()
    until: tuple[int, int] | None = None

    def takes(self, call: Call) -> bool:
        """Whether it is the call's."""
        here = call.operation in self.operations and call.platform in self.platforms
        needed = self.until is None or call.version < self.until
        return here and needed and (call.is_static or self.when in when.OF_ANY_SIZE) and self.when(call)

    @property
    def reason(self) -> str:
        """The condition in words, on one line."""
        return " ".join((self.when.__doc__ or "").split())


PLAIN: tuple[Platform, ...] = ("cpu",)
ONEDNN: tuple[Platform, ...] = ("cpu+onednn",)
CPUS: tuple[Platform, ...] = ("cpu", "cpu+onednn")
CUDA: tuple[Platform, ...] = ("cuda",)
ALL: tuple[Platform, ...] = (*CPUS, *CUDA, "other")
FORWARD: tuple[Operation, ...] = ("convolution",)
BY_INPUT: tuple[Operation, ...] = ("input_gradient",)
BY_KERNEL: tuple[Operation, ...] = ("kernel_gradient",)
ANY: tuple[Operation, ...] = (*FORWARD, *BY_INPUT, *BY_KERNEL)
PRODUCTS: tuple[Operation, ...] = ("product", "sum", "pointwise")
POOLS: tuple[Operation, ...] = ("max", "average")

# fmt: off
RULES = (
    # Convolutions without groups, and with stride 1 their gradients with respect to the images, which are convolutions as well.
    Rule("dense", FORWARD, "pairs and a row", PLAIN, when.few_channels_alone, error=(0.4e-6, 2.4e-3), until=(0, 12),
         gain="8 to 8, 2 x 224²: 0.9 instead of 1.6; smp's Unet on a ResNet18 with 21 classes, 2 x 224²: 187 instead of 225",
         cost="a third more multiplications; one row more, for which XLA takes Eigen, which divides all positions"),
    Rule("dense", FORWARD, "pairs", PLAIN, when.few_channels, error=(0.4e-6, 2.4e-3),
         gain="a ResNet-20 23 instead of 26 (JAX 0.12)", cost="a third more multiplications"),
    Rule("dense", FORWARD, "strips", PLAIN, when.stem, error=(0.5e-6, 2.1e-3), until=(0, 12),
         gain="a SqueezeNet 1.0 9.3 instead of 12.1", cost="a copy of images and output"),
    Rule("dense", FORWARD, "kn2row", PLAIN, when.to_few_features, error=(0.2e-6, 2.3e-3),
         gain="an FC-DenseNet56 600 instead of 830; a DenseNet121 118 instead of 135", cost="an output for each tap in memory"),
    Rule("dense", FORWARD, "rows", PLAIN, when.few_to_many, error=(2.4e-6, 2.6e-3), until=(0, 12),
         gain="an FC-DenseNet103 1046 instead of 1287; 16 to 64, 4 x 128²: 12 instead of 19",
         cost="images transformed, 4.5 times as large"),
    Rule("dense", FORWARD, "padded channels", PLAIN, when.few_dilated_odd, error=(0.3e-6, 3.1e-3), until=(0, 12),
         gain="25 to 25, dilated, 2 x 28²: 0.13 instead of 0.26; an ESPNet-C 12.4 instead of 14.2 by all padded channels",
         cost="channels of zeros"),
    Rule("dense", FORWARD, "im2col", PLAIN, when.few_dilated, error=(0.6e-6, 2.0e-3),
         gain="12 to 12, dilated, 2 x 56²: 0.20 instead of 0.28; keeps them from a product for each tap",
         cost="the windows in memory"),
    Rule("dense", FORWARD, "rows", CPUS, when.by_rows, error=(2.4e-6, 2.6e-3),
         gain="256 to 256, 2 x 14²: 2.7 instead of 4.0", cost="images transformed, 4.5 times as large"),
    Rule("dense", FORWARD, "tiles", CPUS, when.by_tiles, error=(2.6e-6, 2.6e-3),
         gain="64 to 64, 4 x 128²: 28 instead of 61; 512 to 512, 4 x 32²: 24, by oneDNN 50",
         cost="images transformed, 2.25 times as large, and kernels, 4 times"),
    Rule("dense", FORWARD, "taps", PLAIN, when.dilated, error=(0.4e-6, 2.2e-3),
         gain="2048 to 256, 1 x 32², dilation 24: 23 instead of 97", cost="an output for each tap is added"),
    Rule("dense", FORWARD, "im2col", CPUS, when.few_positions, error=(0.6e-6, 2.0e-3),
         gain="512 to 512, 1 x 2²: 0.3 instead of 6; smp's Unet on a ResNet18, 1 x 64²: 6.3 instead of 27",
         cost="the windows in memory"),
    Rule("dense", FORWARD, "onednn", ONEDNN, when.always, error=(1.1e-6, 2.1e-3),
         gain="16 to 16, 2 x 224²: 1.5 instead of 2.8; a ResNet-20 25.7 instead of 43.6, an ESPNet-C 15.4 instead of 20.9",
         cost="0.05 ms a call; no compilation cache, one device"),
    Rule("dense", FORWARD, "padded channels", PLAIN, when.odd_channels, error=(0.3e-6, 3.1e-3), until=(0, 12),
         gain="3 to 24, 2 x 224²: 2.3 instead of 16; a MobileNetV2 6.4 instead of 7.3", cost="channels of zeros"),
    Rule("dense", BY_INPUT, "im2col", CPUS, when.few_positions, error=(0.6e-6, 2.0e-3),
         gain="smp's Unet on a ResNet18, 1 x 64²: a training step 24 instead of 84", cost="the windows in memory"),
    # Gradients with respect to the kernel.
    Rule("dense", BY_KERNEL, "kn2row", CPUS, when.less_than_windows, error=(0.5e-6, 2.5e-3),
         gain="272 to 16, 2 x 224²: 34 instead of 121; an FC-DenseNet103's training step 1383 instead of 1756",
         cost="a gradient for each tap in memory"),
    Rule("dense", BY_KERNEL, "kn2row", CPUS, when.in_cached_blocks, error=(0.5e-6, 2.5e-3),
         gain="16 to 16, 2 x 224²: 2.1 instead of 8.9; a ResNet-56's training step 337 instead of 370",
         cost="a conditional for each block of rows"),
    Rule("dense", BY_KERNEL, "rows", CPUS, when.by_rows, error=(0.9e-6, 2.6e-3),
         gain="256 to 256, 2 x 14²: 2.9, by im2col 4.9", cost="images transformed, 4.5 times as large"),
    Rule("dense", BY_KERNEL, "tiles", CPUS, when.by_tiles, error=(2.1e-6, 2.6e-3),
         gain="16 to 32, 2 x 224²: 24 instead of 198", cost="images transformed, 2.25 times as large"),
    Rule("dense", BY_KERNEL, "taps", CPUS, when.dilated, error=(0.4e-6, 2.2e-3),
         gain="2048 to 256, 1 x 32², dilation 24, all: 51 instead of 259", cost="a product for each tap"),
    Rule("dense", BY_KERNEL, "im2col", CPUS, when.windows_pay, error=(0.3e-6, 2.4e-3),
         gain="5x5, 64 to 64, 8 x 90 x 120: 608 instead of 2270; 7x7 with stride 2, 3 to 64, 8 x 256²: 88 instead of 461",
         cost="the windows of a block of rows in memory"),
    # GPUs.
    Rule("dense", ANY, "space to depth", CUDA, when.strided_stem_of_16_bits, error=(0.2e-6, 2.3e-3),
         gain="7x7 with stride 2, 3 to 64, 16 x 512²: 0.26 instead of 0.63, the kernel's gradient 0.21 instead of 0.41",
         cost="images copied, with a third more channels"),
    Rule("dense", ANY, "wide", CUDA, when.few_positions_of_large_kernels, error=(0.5e-6, 2.8e-3),
         gain="FCN's fc6, 8 x 23²: 0.89, 0.79 and 0.90 instead of 1.20, 2.00 and 1.50 (forward, both gradients; bfloat16)",
         cost="the windows in memory"),
    Rule("dense", ANY, "native", ALL, when.always),
    # Every channel alone.
    Rule("depthwise", FORWARD, "onednn", ONEDNN, when.large_kernel, error=(1.1e-6, 2.1e-3),
         gain="7x7, 96, 2 x 56²: 0.5 instead of 1.8; a ConvNeXt-Tiny 78 instead of 93",
         cost="XLA fuses nothing with it, which loses with fewer taps"),
    Rule("depthwise", ANY, "shift and add", CPUS, when.static, error=(0.2e-6, 3.0e-3),
         gain="192, 3x3, 1 x 64²: 2.5, 2.1 and 20 instead of 95, 109 and 146 (forward, both gradients)",
         cost="a multiplication and an addition for each tap"),
    Rule("depthwise", ANY, "shift and add, apart", CUDA, when.dilated_taps, error=(0.2e-6, 3.0e-3),
         gain="320, dilation 12, 16 x 32²: 0.05, 0.05 and 0.07 instead of 0.23, 0.37 and 0.89 (bfloat16)",
         cost="what comes before and after is not fused"),
    Rule("depthwise", ANY, "native", ALL, when.always),
    # Groups of channels.
    Rule("grouped", FORWARD, "onednn", ONEDNN, when.always, error=(1.1e-6, 2.1e-3),
         gain="128 in 32, 2 x 56²: 0.9, in blocks 2.7; a ResNeXt-50 69 instead of 87", cost="as without groups"),
    Rule("grouped", BY_KERNEL, "block products", CPUS, when.always, error=(0.2e-6, 3.1e-3),
         gain="128 in 32, 2 x 56²: 10.7; XLA's own take 0.7 to 4 s a layer in a ResNeXt-50",
         cost="products with zeros between the groups"),
    Rule("grouped", (*FORWARD, *BY_INPUT), "block products", CPUS, when.up_to_256_positions, error=(0.2e-6, 3.1e-3),
         gain="1024 in 32, 2 x 7²: 2.4 instead of 3.1", cost="products with zeros between the groups"),
    Rule("grouped", (*FORWARD, *BY_INPUT), "blocks", CPUS, when.always, error=(0.3e-6, 2.0e-3),
         gain="128 in 32, 2 x 56²: 5.1 instead of 21.7; a RegNetY-016 97 instead of 134",
         cost="a convolution for each block of 16 channels, with zeros between its groups"),
    Rule("grouped", ANY, "native", ALL, when.always),
    # Images whose pixels are repeated, and maps beside them.
    Rule("upsampled", ANY, "phases", CPUS, when.doubled, error=(0.5e-6, 2.6e-3),
         gain="32 to 16, 2 x 112² doubled: 1.7 instead of 5.4, with gradients 7.2 instead of 17",
         cost="none: the enlarged images are never made"),
    Rule("upsampled", ANY, "enlarged", ALL, when.always),
    # Volumes.
    Rule("volume", ANY, "slices", CPUS, when.has_slices,
         gain="processor time: 8 to 8, 1 x 32³, dilation 4: 9, 14 and 8 instead of 186, 259 and 369 (forward, both gradients); "
         "32 to 32, 1 x 24³: 16, 37 and 30 instead of 68, 231 and 150",
         cost="the slices that a kernel sees in memory"),
    Rule("volume", ANY, "native", ALL, when.always),
    # Transposed convolutions, on every platform.
    Rule("transposed", FORWARD, "convolution", ALL, when.stride_1),
    Rule("transposed", FORWARD, "product", ALL, when.without_groups, error=(0.6e-6, 3.4e-3),
         gain="the kernel's gradient, 2x2, 128 to 64, 4 x 128²: 79 GFLOP/s instead of 1.2; FCN's x32 11 instead of 153",
         cost="none: pixels are shuffled"),
    Rule("transposed", FORWARD, "phases", ALL, when.always, gain="as the product, for each group"),
    # Matrix products on CPUs, alone and inside of other algorithms. Of pointwise layers, what is XLA's forward, the gradient.
    Rule("matrices", PRODUCTS, "onednn", ONEDNN, when.large_product,
         gain="25088 positions of 64 by 64: 0.9 instead of 2.6",
         cost="0.05 ms a call; policies of `jax.checkpoint` do not know it"),
    Rule("matrices", PRODUCTS[1:], "exchanged", CPUS, when.few_columns,
         gain="25088 positions of 256 by 21: 1.1 instead of 5.7; a SegFormer's training step 77 instead of 80",
         cost="the result is transposed"),
    Rule("matrices", PRODUCTS, "native", ALL, when.always,
         gain="1x1, 64 to 21, 1 x 256²: 95, 72 and 45 GFLOP/s (forward, both gradients), as convolutions 29, 25 and 2.4"),
    Rule("attention", ("attention",), "heads apart", CPUS, when.alike, error=(6e-7,),
         gain="2 x 197, 12 heads of 64: 2.0 instead of 4.2; a ViT-S's training step 305 instead of 367",
         cost="queries, keys and values are copied"),
    Rule("attention", ("attention",), "cudnn", CUDA, when.flash,
         gain="32 x 16384 queries, 256 keys of 32: 0.13 instead of 0.44 (bfloat16)",
         cost="first derivatives only, in reverse mode; `jax.export` cannot keep it"),
    Rule("attention", ("attention",), "native", ALL, when.always),
    # Resizing, an axis at a time, and pooling.
    Rule("resizing", ("resize",), "phases", ALL, when.few_phases,
         gain="FCN's x8, 21 channels, 2 x 28²: 2.7 of processor time, as a product 14.9",
         cost="compilation takes longer with each phase"),
    Rule("resizing", ("resize",), "product", ALL, when.always,
         gain="FCN's x32, 21 channels: 2.9, as a transposed convolution 16200", cost="a matrix for each pair of sizes"),
    Rule("pooling", POOLS, "slices", ALL, when.static,
         gain="2x2, 64 channels, 4 x 128²: the gradient 3 instead of 95; 3x3 with stride 2, 2 x 128²: 8 instead of 74",
         cost="a comparison for each element of a window"),
    Rule("pooling", POOLS, "native", ALL, when.always),
    # What XLA would compute anew for each use of it, and what it cannot fuse.
    Rule("fusion", ("materialize",), "conditional", CPUS, when.always,
         gain="sums of residual blocks: a ResNet-152 105 instead of 198, a ResNet-50 40 instead of 45",
         cost="nothing is fused with it"),
    Rule("fusion", ("slice",), "barrier", CUDA, when.always,
         gain="strides of pointwise convolutions: XLA's compiler can end the process", cost="the slice is an array of its own"),
    Rule("fusion", ("materialize", "slice"), "native", ALL, when.always),
)
# fmt: on

_OF_LAYER = {layer: tuple(rule for rule in RULES if rule.layer == layer) for layer in {rule.layer for rule in RULES}}
_listener: contextvars.ContextVar[Callable[[Call], None] | None] = contextvars.ContextVar("_listener", default=None)


def choose(call: Call) -> Rule:
    """The first rule that takes the call."""
    if listener := _listener.get():
        listener(call)
    return find(call)


def find(call: Call) -> Rule:
    """The same, of which no listener is told."""
    return next(rule for rule in _OF_LAYER[call.layer] if rule.takes(call))


def by_platform(call: Call, algorithms: Mapping[str, Callable], *operands: Any) -> Any:
    """What the algorithms compute that the table has for each platform; which of these it is, is known at lowering."""
    choose(dataclasses.replace(call, platform=platform_at_hand()))
    platforms: tuple[Platform, ...] = ("cpu", "cuda", "other")
    functions = {name: algorithms[find(dataclasses.replace(call, platform=name)).algorithm] for name in platforms}
    other = functions.pop("other")
    own = {name: function for name, function in functions.items() if function is not other}
    return lax.platform_dependent(*operands, **own, default=other) if own else other(*operands)


def is_heard() -> bool:
    """Whether someone listens to what is chosen."""
    return _listener.get() is not None


@contextlib.contextmanager
def listening(listener: Callable[[Call], None]) -> Iterator[None]:
    """Inside, `listener` is told each call."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
