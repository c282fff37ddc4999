"""The settings with which tests compile, which is what most of them spend their time on."""

from importlib.metadata import version

QUICK_COMPILATION = "--xla_backend_optimization_level=0"
"""Results are those of the same operations."""

# XLA's older way of writing loops compiles in half the time. A release that does not know a flag would not start.
if tuple(map(int, version("jaxlib").split(".")[:2])) <= (0, 10):
    QUICK_COMPILATION += " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
