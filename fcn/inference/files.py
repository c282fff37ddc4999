"""Image files through a network: a mask and an overlay for each, or what else its task gives."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fcn.data import read_image
from fcn.inference.whole import predict_image
from fcn.preprocessing import Preprocessing
from fcn.tasks import Semantic, Task
from fcn.visualize.files import save_pictures


class Files(NamedTuple):
    """An image and what is written for it."""

    image: Path
    paths: Mapping[str, Path]
    """By ending, such as "mask.png", as `Task.files` gives them; the one last without which the image is not done."""
    page: int | None = None
    """Of a file of several pages, the one that is the image."""

    @classmethod
    def named(cls, image: Path, stem: Path, endings: Sequence[str], page: int | None = None) -> "Files":
        """STEM_ENDING for each ending; STEM_p0001_ENDING for the first page."""
        name = _named(stem.name, page)
        return cls(image, {ending: stem.with_name(f"{name}_{ending}") for ending in endings}, page)

    @property
    def name(self) -> str:
        """The file name of the image; of a page one as its files have: stack_p0001.tif."""
        return _named(self.image.stem, self.page) + self.image.suffix

    @property
    def done(self) -> Path:
        """The file that is written last."""
        return list(self.paths.values())[-1]


def _named(stem: str, page: int | None) -> str:
    return stem if page is None else f"{stem}_p{page + 1:04}"


def plan_files(images: Iterable[Path], out: Path, endings: Sequence[str] = Semantic.suffixes) -> list[Files]:
    """NAME_ENDING in `out` for each image and ending: NAME_overlay.png and NAME_mask.png.

    Raises:
        FileNotFoundError: an image is missing.
        FileExistsError: a file is there already, or two images have the same name.
    """
    plans: dict[Path, Files] = {}
    for image in images:
        if not image.is_file():
            raise FileNotFoundError(f"no image {image}")
        files = Files.named(image, out / image.stem, endings)
        if taken := [file for file in files.paths.values() if file.exists()]:
            raise FileExistsError(f"{taken[0]} exists already; give another folder")
        if files.done in plans:
            raise FileExistsError(
                f"{plans[files.done].image} and {image} would both write {files.done}; take one after the other"
            )
        plans[files.done] = files
    return list(plans.values())


def predict_file(predict: Callable, variables: dict, expected: Preprocessing, task: Task, files: Files) -> None:
    """Writes what a network sees in an image.

    Args:
        predict: what `make_predictor` gave for the task, and images as they were read (`Preprocessing.as_read`).
        variables: the network's.
        expected: what it expects of images, which decides at which size it sees this one.
        task: what its logits mean.
        files: what is read and written.

    Raises:
        ValueError: the image cannot be read.
        OSError: the pictures cannot be written.
    """
    how = {"value_range": expected.value_range, "per_image": expected.per_image}
    image = read_image(files.image, channels=expected.channels, **how)
    scores = predict_image(predict, variables, image, size=expected.seen_size(*image.shape[:2]))
    found = task.files(image, scores)
    save_pictures({path: found[ending] for ending, path in files.paths.items()})
