"""Inspect: `python -m experiments.inspect DATA [--json FILE] [--html FILE]`.

Looks at every image and label of a folder and says how it is laid out, what is in it, and what is wrong with it. The exit
status is 1 where `train auto` would refuse the data; other presets take mixed sizes by --data.crop or --data.size.
"""

import dataclasses
import functools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments import command
from experiments.evaluate import PRINTED, with_json_named
from fcn.ranges import Range, check_fields


@dataclasses.dataclass(frozen=True)
class Options:
    """Counts, sizes, types, statistics, shares of classes, and a verdict."""

    data: Annotated[Path, tyro.conf.Positional]
    """The folder."""
    size: Annotated[tuple[int, int] | None, Range(1, 2**16)] = None
    """Height and width that training is to resize images to (--data.size), if it is."""
    crop: Annotated[tuple[int, ...] | None, Range(1, 2**16)] = None
    """The sides of the crops that training is to take (--data.crop), if it is."""
    channels: Annotated[int | None, Range(1, 64)] = None
    """The channels that training is to read (--data.channels), if they are said."""
    pages: Literal["channels", "slices"] | None = None
    """What the pages of a TIFF file are (--data.pages)."""
    skip_bad: bool = False
    """Training is to leave out images and labels that cannot be used (--data.skip-bad)."""
    json: Path | None = None
    """Write one JSON object to this file; without a name print it instead of the table."""
    html: Path | None = None
    """Write a page that stands alone to this file: overlays, histograms, findings."""
    samples: Annotated[int, Range(0, 1000)] = 12
    """Overlays on the page."""
    overwrite: bool = False
    """Replace the files of --json and --html."""

    def __post_init__(self):
        check_fields(self)
        for option in ("json", "html"):
            if (path := getattr(self, option)) != PRINTED:
                command.refuse_to_write(option, path, self.overwrite)
        if self.json is not None and self.html is not None and self.json.resolve() == self.html.resolve():
            raise ValueError(f"--json and --html are both {self.json}; give two names")


def main(args: Sequence[str]) -> int:
    """Runs a command line; gives the exit status."""
    options = command.parse(Options, with_json_named(args), "inspect", __doc__)
    from experiments.reports.inspection_volumes import is_inspected
    from fcn.data.layouts.layout import existing_folder

    found = is_inspected(existing_folder(options.data), options.pages == "slices")
    return inspect_volumes(options) if found else inspect_images(options)


def inspect_volumes(options: Options) -> int:
    """Says what is known of a folder of volumes or signals; gives the exit status."""
    from experiments.reports.inspection_volumes import lines, summary
    from fcn.training.records import write_json

    if given := [name for name in ("html", "size", "channels") if getattr(options, name) is not None]:
        raise ValueError(f"--{given[0]} is for images, and {options.data} holds volumes or signals; leave it out")
    values = summary(options.data, options.pages == "slices", options.crop is not None, options.skip_bad)
    print(json.dumps(values) if options.json == PRINTED else "\n".join(lines(values)))
    if options.json not in (None, PRINTED):
        write_json(options.json, values)
    return int(values["refused"])


def inspect_images(options: Options) -> int:
    """Says what is known of a folder of images; gives the exit status."""
    from tqdm import tqdm

    from experiments.reports.inspection import lines, summary
    from fcn.data.checks.findings import findings
    from fcn.data.checks.survey import survey

    if options.crop is not None and len(options.crop) != 2:
        raise ValueError(f"--crop has {len(options.crop)} sides, and {options.data} holds images; give height and width")
    pages = None if options.pages == "slices" else options.pages
    progress = functools.partial(tqdm, desc="images", leave=False, disable=None)
    seen = survey(options.data, lambda records, total: progress(records, total=total), pages, options.channels)
    how = {"resized": bool(options.size or options.crop), "converted": options.channels is not None}
    found = findings(seen, skip_bad=options.skip_bad, **how)
    values = summary(seen, found)
    print(json.dumps(values) if options.json == PRINTED else "\n".join(lines(values)))
    write_files(options, values, seen)
    return int(values["refused"])


def write_files(options: Options, values, seen) -> None:
    """Writes what --json and --html ask for, each in one piece."""
    from experiments.reports.inspection_page import page
    from fcn.draft import replacing
    from fcn.training.records import write_json

    if options.json not in (None, PRINTED):
        write_json(options.json, values)
    if options.html is not None:
        with replacing(options.html) as draft:
            draft.write_text(page(values, seen, options.samples), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(command.run(lambda: main(sys.argv[1:])))
