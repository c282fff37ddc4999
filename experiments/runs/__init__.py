"""The folder of a run: what it holds, who writes it, how one run follows another."""
