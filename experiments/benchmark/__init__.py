"""The benchmark against PyTorch: `python -m experiments.benchmark --help`."""
