"""A training that configures itself: a fingerprint of the data, nnU-Net's plan for it, and what a budget makes of the plan."""
