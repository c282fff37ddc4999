"""Commands: each is `python -m experiments.NAME --help`; `python -m experiments` lists them."""

import difflib
import sys
from collections.abc import Sequence

COMMANDS = {
    "train": "trains a network, on your images or on those that are built in",
    "inspect": "looks at your images and labels, and says what is wrong with them",
    "evaluate": "measures a network on a split of its data: IoU of each class",
    "compare": "shows runs side by side: configurations, scores, curves",
    "predict": "labels each pixel of your images",
    "convert": "turns a run or a checkpoint into a saved model",
    "export": "writes a network as a file that JAX or ONNX runs alone",
    "serve": "answers images over HTTP, with a page to try a network on",
    "explain": "tells which algorithm computes each layer of a network",
    "augment": "shows what augmentation makes of an image",
    "codecs": "shows where each way to find objects fails",
    "dimensions": "shows the same U-Net on a signal",
    "pointwise": "shows what a 1x1 convolution is for",
    "benchmark": "compares the speed of networks with PyTorch (takes long)",
    "onnx_table": "compares ONNX models of all networks with ours (takes long)",
    "tile_table": "compares tiles with whole images, of all networks (takes long)",
    "model_table": "writes the tables of README.md and docs",
}
_PROCESSES = ("benchmark.contestant", "benchmark.predicting")
"""What commands start for themselves."""


def refusal(command_line: Sequence[str]) -> str | None:
    """What to say to `python -m experiments.NAME` where NAME is no command; a module would do nothing, without a word."""
    following = zip(command_line, [*command_line[1:], ""])
    module = next((after if word == "-m" else word[2:] for word, after in following if word.startswith("-m")), "")
    name = module.removeprefix("experiments.")
    if name in (module, *COMMANDS, *_PROCESSES):
        return None
    near = difflib.get_close_matches(name, COMMANDS, 1) or [known for known in COMMANDS if name.startswith(f"{known}.")]
    hint = f"did you mean experiments.{near[0]}?" if near else "python -m experiments lists the commands"
    return f"error: experiments.{name} is no command; {hint}"


if sys.argv[:1] == ["-m"] and (_refusal := refusal(sys.orig_argv)):  # Python is looking for the module that it was told to run
    sys.exit(_refusal)
