"""`python -m fcn` lists models, encoders and weights; `predict` labels images, `convert` converts networks."""

import argparse
import fnmatch
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fcn


def main(args: Sequence[str]) -> int:
    """Runs a command line; gives the exit status. What a user can mend is told in one sentence."""
    options = _parser().parse_args(args)
    try:
        return options.run(options)
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m fcn", description=__doc__)
    parser.set_defaults(run=list_names, pattern="*")
    commands = parser.add_subparsers(metavar="COMMAND")
    listing = commands.add_parser("list", help="names of models, encoders and weights")
    listing.add_argument("pattern", nargs="?", default="*", help="such as 'resnet*'")
    predicting = commands.add_parser("predict", help="writes NAME_mask.png and NAME_overlay.png for each image")
    predicting.add_argument(
        "network", help="a folder that fcn.save or smp wrote, a trained network, or published weights that segment"
    )
    predicting.add_argument("images", nargs="+", type=Path, help="image files")
    predicting.add_argument("--out", required=True, type=Path, help="the folder to write to; made if it is missing")
    predicting.set_defaults(run=predict)
    converting = commands.add_parser("convert", help="a checkpoint to a saved model, or a saved model to a checkpoint")
    converting.add_argument("input", type=Path, help="a checkpoint file, or a folder that fcn.save or smp wrote")
    converting.add_argument("--out", required=True, type=Path, help="the folder, or .safetensors or .pth file; must not exist")
    converting.add_argument("--source", help="whose names the tensors have, or get: torchvision, timm, smp, torchfcn ...")
    converting.add_argument("--model", help="the model of a checkpoint file, a name of the list")
    converting.add_argument("--encoder", help="its encoder, if not the default")
    converting.add_argument("--classes", type=Path, help="a text file with the name of a class on each line")
    converting.set_defaults(run=convert)
    return parser


def list_names(options: argparse.Namespace) -> int:
    """Prints the names that match a pattern."""
    from fcn.pretrained import WEIGHTS
    from fcn.shipped import shipped

    weights = sorted(fnmatch.filter(WEIGHTS, options.pattern))
    names = {"models": fcn.list_models(options.pattern), "encoders": fcn.list_encoders(options.pattern), "weights": weights}
    names["trained networks"] = fnmatch.filter(shipped(), options.pattern)
    lines = textwrap.TextWrapper(
        min(shutil.get_terminal_size().columns, 128), "  ", "  ", break_on_hyphens=False, break_long_words=False
    )
    for kind, found in names.items():
        print(f"{len(found)} {kind}", *lines.wrap("  ".join(found)), sep="\n")
    return 0


def predict(options: argparse.Namespace) -> int:
    """Writes what a network sees in each image; one that cannot be read is told, and the others are done."""
    from fcn import tasks
    from fcn.inference import make_predictor
    from fcn.inference.files import plan_files, predict_file
    from fcn.pretrained.networks import expected_images, open_network, stored_task

    suffixes = (stored_task(options.network) or tasks.Semantic).suffixes
    plans = plan_files(options.images, options.out, suffixes)  # what is wrong with them is told before the network is read
    network = open_network(options.network)
    count, expected = network.model.num_classes, expected_images(options.network, network)
    if network.task is None and not 2 <= count <= 256:
        raise ValueError(f"the network has {count} class(es); a mask, which is a PNG of 8 bits, tells 2 to 256 apart")
    names = network.classes or [f"class {number}" for number in range(count)]
    task = network.task or tasks.make("semantic", names, palette=network.palette or ())
    run = make_predictor(network.model, expected.as_read(), task)
    options.out.mkdir(parents=True, exist_ok=True)
    status = 0
    for files in plans:
        try:
            predict_file(run, network.variables, expected, task, files)
            print(f"{files.image} -> {files.done}")
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            status = 1
    return status


def convert(options: argparse.Namespace) -> int:
    """Writes a network in another form, whole or not at all."""
    from fcn.pretrained.networks import open_network
    from fcn.pretrained.torch_files import TORCH_FILES, save_torch
    from fcn.shipped import located

    if os.path.lexists(options.out):
        raise FileExistsError(f"{options.out} exists already; give another --out")
    options.input = located(options.input)
    if not options.input.exists():
        raise FileNotFoundError(f"no checkpoint or folder {options.input}")
    if options.out.suffix in TORCH_FILES:
        if options.source is None:
            raise ValueError(f"{options.out} is to be a checkpoint of another implementation; say which with --source")
        _leave_out(options, "model", "encoder", "classes")
        network = open_network(options.input)
        save_torch(options.out, network.model, network.variables, source=options.source)
    else:
        network = _read_checkpoint(options)
        classes = {"classes": network.classes, "palette": network.palette}
        facts: dict[str, Any] = classes if network.task is None else {"task": network.task}
        fcn.save(options.out, network.model, network.variables, preprocessing=network.preprocessing, **facts)
    print(f"{options.input} -> {options.out}")
    return 0


def _read_checkpoint(options: argparse.Namespace):
    """What the command line says of a checkpoint."""
    from fcn.pretrained.networks import read_checkpoint, read_names
    from fcn.pretrained.smp import is_smp_folder, smp_model

    if (options.input / "model.json").is_file():
        raise ValueError(f"{options.input} is a saved model already; give --out NAME.safetensors or NAME.pth, with --source")
    classes = (read_names(options.classes) if options.classes else ()) or None
    if is_smp_folder(options.input):
        _leave_out(options, "model", "encoder", *(["source"] if options.source != "smp" else []))
        return read_checkpoint(options.input, smp_model(options.input), source="smp", classes=classes)
    if not (options.model and options.source and classes):
        raise ValueError(f"{options.input} is a checkpoint; say what it is with --model, --source and --classes")
    model = fcn.create_model(options.model, num_classes=len(classes), encoder=options.encoder)
    return read_checkpoint(options.input, model, source=options.source, classes=classes)


def _leave_out(options: argparse.Namespace, *names: str) -> None:
    """Refuses options of which the input itself says what they would."""
    for name in names:
        if (value := getattr(options, name)) is not None:
            raise ValueError(f"{options.input} says itself what its network is; leave --{name} {value} out")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
