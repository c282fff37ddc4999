"""Data, networks, losses and optimizers as a configuration says, or as a run or a file of weights holds them."""
