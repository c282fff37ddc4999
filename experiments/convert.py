"""Convert: `python -m experiments.convert INPUT --out OUTPUT`.

* a checkpoint of another implementation (with --model, --source and --classes) to a saved model, a folder that `fcn.load` and
  `experiments.predict` read; a folder that smp's `save_pretrained` wrote says the model itself (--classes names its classes);
* a run folder to a saved model;
* a run folder or a saved model to a checkpoint of another implementation (with --source), where OUTPUT is .safetensors or .pth.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments import command
from fcn.shipped import located


@dataclasses.dataclass(frozen=True)
class ConvertConfig:
    """A network in another form."""

    input: Annotated[Path, tyro.conf.Positional]
    """A checkpoint file, a folder of smp's save_pretrained, a run folder or a saved model."""
    out: Path
    """The folder to make, or the .safetensors or .pth file to write; must not exist."""
    checkpoint: Literal["last", "best"] = "last"
    """Which checkpoint of a run: the last, or the best by what its training took for it (--best, validation mIoU)."""
    model: str | None = None
    """The model of a checkpoint file: a name of fcn.list_models()."""
    encoder: str | None = None
    """Its encoder, if not the default."""
    options: tuple[str, ...] = ()
    """Further fields of the model as name=value."""
    source: str | None = None
    """Whose names a checkpoint file has, or gets: torchvision, timm, smp, torchfcn, espnet, cifar, caffe, tf_deeplab,
    cellpose, stardist, brainchop, phasenet, nnunet or monai."""
    task: str | None = None
    """What the channels of a checkpoint file mean (default: semantic): stardist, flows ... (docs/instances.md)."""
    classes: Path | None = None
    """A text file with the names of the classes of a checkpoint file, one on each line; one that finds objects needs none."""
    task_options: tuple[str, ...] = ()
    """Further options of a checkpoint's task, or other ones than in training, as name=value: threshold=0.4 ..."""
    licence: str | None = None
    """Under which the weights may be used; noted in a saved model."""
    half: bool = False
    """Write the numbers of a saved model as float16: half as large, with three digits."""


def main(args: Sequence[str]) -> None:
    options = command.parse(ConvertConfig, args, "convert", __doc__)
    if options.out.exists():
        raise FileExistsError(f"{options.out} exists already; give another --out")
    to_file = options.out.suffix in (".safetensors", ".pth")
    if not to_file:
        command.refuse_file_name(options.out, "a saved model, a folder (or a .safetensors or .pth file, with --source),")
    options = dataclasses.replace(options, input=located(options.input))
    if not options.input.exists():
        raise FileNotFoundError(f"no checkpoint or folder {options.input}")
    from experiments.building.networks import from_folder, from_weights, single, with_task_options
    from experiments.configuration.config import ModelConfig
    from fcn.pretrained.reading import check_file

    if options.input.is_file():
        check_file(options.input)
    if options.input.is_dir() and options.model is None:
        command.refuse_without_model(options, "encoder", "options", "task", *(() if to_file else ("source",)))
        network = from_folder(options.input, options.checkpoint, options.classes)
        network = with_task_options(network, options.task_options)
    elif options.model is None or (options.source is None and options.input.is_file()):
        raise ValueError(f"{options.input} is a checkpoint file; say what it is with --model and --source")
    else:
        model, task = ModelConfig(options.model, options.encoder, options.options), options.task or "semantic"
        network = from_weights(model, str(options.input), options.source, options.classes, task, options.task_options)
    network = single(network, options.input)
    if to_file:
        if options.half:
            raise ValueError(f"{options.out} is to be a checkpoint of another implementation, in float32; leave --half out")
        write_checkpoint(network, options)
        print(f"{options.out.name} holds weights only; who uses them must know: {network.preprocessing.describe()}")
    else:
        import fcn

        facts = {"preprocessing": network.preprocessing, "licence": options.licence, "label_ids": network.label_ids}
        variables = in_half(network.variables) if options.half else network.variables
        fcn.save(options.out, network.model, variables, task=network.task, **facts)
    print(f"{options.input} -> {options.out}")


def in_half(variables):
    """The variables as float16.

    Raises:
      ValueError: a number is larger than float16 holds.
    """
    import jax
    import numpy as np

    largest = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(variables))
    if largest > float(np.finfo(np.float16).max):
        raise ValueError(f"the largest of these numbers is {largest:.3g}; float16 holds up to 65504: leave --half out")
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float16), variables)


def write_checkpoint(network, options: ConvertConfig) -> None:
    """Writes the tensors of `fcn.to_torch`, whole or not at all."""
    if options.source is None:
        raise ValueError(f"{options.out} is to be a checkpoint of another implementation; say which with --source")
    from fcn.pretrained.torch_files import save_torch

    channels = network.preprocessing.channels
    save_torch(options.out, network.model, network.variables, source=options.source, in_channels=channels)


if __name__ == "__main__":
    command.run(lambda: main(sys.argv[1:]))
