"""When an algorithm is taken: what the rules of `fcn.kernels.table` ask of a call. Their first lines are read by users."""

import math

import jax.numpy as jnp

from fcn.environment import compute_capability
from fcn.kernels import onednn
from fcn.kernels.call import Call
from fcn.kernels.measured import FEWEST, measured_algorithm
from fcn.kernels.windows import copies, is_static

FEW = 256
"""Positions in all images of a batch; products of that many rows are small beside the kernel."""
ONE = (1, 1)
ONE_PROCESSOR, MANY_POSITIONS = 16, 4096
"""XLA before 0.12 mostly convolves on one processor where either side has more channels: 16 to 64 at 4 x 128x128 in 19 ms, by
rows 12."""


def always(call: Call) -> bool:
    """no other fits"""
    return True


def static(call: Call) -> bool:
    """sizes that are numbers"""
    return call.is_static


# Convolutions without groups, on CPUs.


def few_channels(call: Call) -> bool:
    """3x3, 4 to 16 channels and features (24 before JAX 0.12), 4096 positions or more (65536 with a third as many features)"""
    fewest = 2**12 if 3 * call.features > call.channels else 2**16
    few = call.most <= (24 if call.version < (0, 12) else 16) and call.features >= 4
    return few and is_3x3(call) and call.dilation == ONE and call.positions >= fewest


def few_channels_alone(call: Call) -> bool:
    """as pairs below, to 24 channels and features before JAX 0.12, where one device has all processors"""
    return call.alone and few_channels(call)


def stem(call: Call) -> bool:
    """up to 4 channels with strides, 7x7 to more than 32 features or 3x3 to 64, outputs of 64 to 341 columns; one device"""
    (_, h, w, features), (kh, kw) = call.output, call.kernel[:2]
    much = (min(kh, kw) >= 7 and features > 32) or ((kh, kw) == (3, 3) and features >= 64)
    large = h * w >= 2**13 and h >= 64 and 64 <= w <= 341
    few = call.channels <= 4 and min(call.strides) > 1 and not odd_channels(call)
    return call.alone and call.dilation == ONE and much and large and few


def to_few_features(call: Call) -> bool:
    """stride 1, fewer than 16 features (16 up to 16384 positions), at least a third as many channels as taps x features"""
    fewer = call.features < 16 or (call.features == 16 and call.positions <= 2**14)
    columns = call.taps * call.features  # of the product, which must not take much more memory than the images
    return fewer and call.strides == ONE and columns <= 3 * call.channels


def few_dilated(call: Call) -> bool:
    """dilated, 8 to 32 channels and features, windows of up to 2^21 numbers"""
    narrow = call.fewest >= 8 and call.most <= 32 and call.positions * call.taps * call.channels <= 2**21
    return call.dilation != ONE and call.strides == ONE and narrow and measured(call) not in ("rows", "tiles")


def few_dilated_odd(call: Call) -> bool:
    """dilated, 17 to 32 channels and features, an odd number of channels, windows of up to 2^21 numbers"""
    return few_dilated(call) and call.fewest >= FEWEST["convolution"] and odd_channels(call)


def few_to_many(call: Call) -> bool:
    """3x3, 4096 positions or more, from 16 channels to more, or from 8 to 15 to more than 80 features"""
    return on_one_processor(call) and (
        call.channels == ONE_PROCESSOR or (call.channels >= 8 and call.features > 80 and call.dilation == ONE)
    )


def by_rows(call: Call) -> bool:
    """3x3 with stride 1, where rows are the fastest of what was measured for so many channels and positions"""
    return measured(call) == "rows"


def by_tiles(call: Call) -> bool:
    """3x3 with stride 1, where tiles are the fastest of what was measured for so many channels and positions"""
    return measured(call) == "tiles"


def dilated(call: Call) -> bool:
    """dilated, stride 1, 16 channels and features or more (8 for the kernel's gradient)"""
    return call.dilation != ONE and call.strides == ONE and call.fewest >= _fewest(call)


def few_positions(call: Call) -> bool:
    """up to 256 positions and 16 channels and features or more; 3x3 with stride 1 as was measured"""
    if is_3x3(call) and call.dilation == ONE and has_tiles(call):
        return measured(call) == "im2col"
    plain = is_3x3(call) and call.dilation == ONE
    return _few(call) and (call.platform == "cpu" or plain or call.operation != "convolution")


def odd_channels(call: Call) -> bool:
    """17 to 32 features and an odd number of channels, or 65 to 80 and one that 4 does not divide; 3 to 63 channels"""
    vectors = -(-call.features // 16)
    divisor = 2 if vectors == 2 else 4
    return vectors in (2, 5) and 3 <= call.channels <= 63 and call.channels % divisor > 0


def less_than_windows(call: Call) -> bool:
    """stride 1, up to 16 features, where the copies are fewer than those of im2col"""
    windows = call.taps * call.channels + call.features
    return call.strides == ONE and call.features <= 16 and min(copies(call.kernel)) < windows


def in_cached_blocks(call: Call) -> bool:
    """3x3, up to 16 channels and 32 features, where one device has all processors"""
    few = call.channels <= 16 and call.features <= 2 * 16
    return few and call.alone and is_3x3(call) and call.dilation == ONE


def windows_pay(call: Call) -> bool:
    """strides or up to 256 positions, kernels of less than 2^24 numbers; else results of 2^20 or more; 3x3 as measured"""
    if call.strides == ONE and (call.dilation != ONE or is_3x3(call)) and call.fewest >= _fewest(call):
        return measured(call) == "im2col" if has_tiles(call) else _few(call)
    few = (_few(call) or call.strides != ONE) and math.prod(call.kernel) < 2**24
    return few or call.positions * call.most >= 2**20


# Other convolutions, and GPUs.


def large_kernel(call: Call) -> bool:
    """25 taps or more, not dilated"""
    return call.taps >= 25 and call.dilation == ONE


def dilated_taps(call: Call) -> bool:
    """dilated"""
    return call.dilation != ONE


def up_to_256_positions(call: Call) -> bool:
    """up to 256 positions"""
    return call.positions <= FEW


def doubled(call: Call) -> bool:
    """more than 256 positions, as many as the enlarged images have"""
    return call.same and call.positions > FEW


def strided_stem_of_16_bits(call: Call) -> bool:
    """up to 4 channels of 16 bits, stride 2, 25 taps or more"""
    narrow = call.channels <= 4 and jnp.finfo(call.dtype).bits == 16
    return narrow and call.strides == (2, 2) and call.dilation == ONE and call.taps >= 25


def few_positions_of_large_kernels(call: Call) -> bool:
    """25 taps or more, 64 channels or more, up to 4 positions for each feature"""
    few = call.positions <= 4 * call.features  # the windows of more would take much more memory than the kernel
    return few and call.taps >= 25 and call.channels >= 64


def stride_1(call: Call) -> bool:
    """stride 1"""
    return set(call.strides) == {1}


def without_groups(call: Call) -> bool:
    """one group"""
    return call.groups == 1


# Products.


def large_product(call: Call) -> bool:
    """float32, 24 columns or more on both sides, 2^24 multiplications or more, no multiple of 3072 columns; several matrices
    with AVX-512 or JAX 0.12 only"""
    if math.prod(call.images[:-2]) > 1 and not onednn.multiplies_stacks():
        return False
    fast = call.fewest >= 24 and call.features % 3072 > 0
    return fast and call.dtype == jnp.float32 and call.positions * call.channels * call.features >= 2**24


def few_columns(call: Call) -> bool:
    """fewer features than channels, more than 16 positions for each feature"""
    positions = call.output[-2]
    return call.channels > call.features and is_static((positions,)) and positions > 16 * call.features


def alike(call: Call) -> bool:
    """float32, queries, keys and values of the same images, heads and features"""
    images, _, *heads = call.images
    keys = images, *call.kernel[1:2], *heads
    return call.dtype == jnp.float32 and len(call.images) == 4 and call.kernel == call.output == keys


def flash(call: Call) -> bool:
    """16 bits, even numbers of queries and keys, heads of up to 128 features that 8 divides; compute capability 8.0 or more"""
    features, counts = call.images[-1], (call.images[1], call.kernel[1])
    suits = features % 8 == 0 and features <= 128 and not any(count % 2 for count in counts)
    return suits and call.dtype in (jnp.bfloat16, jnp.float16) and compute_capability() >= 8


# Volumes.


def has_slices(call: Call) -> bool:
    """volumes that give any output"""
    return 0 not in call.output


# Resizing.


def few_phases(call: Call) -> bool:
    """enlarging by a whole factor of up to 8"""
    return is_static((call.features,)) and 1 <= call.features <= 8


# What several ask.


def is_3x3(call: Call) -> bool:
    return call.kernel[:2] == (3, 3) and call.strides == ONE


def has_tiles(call: Call) -> bool:
    """Images smaller than a tile are one product: XLA would make the kernel the image, and take 6 ms for 2x2 positions of 512
    channels. Dilated kernels need as many of the images of every d-th pixel."""
    return is_3x3(call) and all(side >= 4 * d for side, d in zip(call.output[1:3], call.dilation))


def on_one_processor(call: Call) -> bool:
    few = call.fewest <= ONE_PROCESSOR < call.most and call.positions >= MANY_POSITIONS
    return few and has_tiles(call) and call.operation == "convolution" and call.platform == "cpu"


def measured(call: Call) -> str | None:
    """What `fcn.kernels.tune` or its usual table says, where it knows: 3x3 with stride 1 and not too few channels."""
    product = "gradient" if call.operation == "kernel_gradient" else "convolution"
    with_onednn = call.platform == "cpu+onednn"
    few = with_onednn and product == "convolution" and call.dilation != ONE and call.fewest < 64
    if few or not has_tiles(call) or call.fewest < FEWEST[product] or on_one_processor(call):
        return None
    return measured_algorithm(product, call.channels, call.features, call.positions, onednn=with_onednn)


def _fewest(call):
    return FEWEST["gradient" if call.operation == "kernel_gradient" else "convolution"]


def _few(call):
    """Whether the windows are small beside the kernel, which has channels enough for a product."""
    return call.positions <= FEW and call.fewest >= _fewest(call)


OF_ANY_SIZE = (always, stride_1, without_groups, few_columns, few_phases)
"""What may be asked where sizes are symbols of `jax.export`. These meet no other condition."""
