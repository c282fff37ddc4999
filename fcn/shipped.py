"""Networks that come with this library, which trained them itself on images whose licence allows it."""

from pathlib import Path

FOLDER = Path(__file__).parent / "trained"


def shipped() -> tuple[str, ...]:
    """Their names, which `fcn.load` takes."""
    return tuple(sorted(description.parent.name for description in FOLDER.glob("*/model.json")))


def located(name: str | Path) -> Path:
    """Where the network of that name lies. A saved model or a run of the user's goes first; what else has its name does not."""
    path = Path(name)
    theirs = any((path / file).is_file() for file in ("model.json", "config.json"))
    return path if theirs or str(path) not in shipped() else FOLDER / path


def is_shipped(path: Path) -> bool:
    """Its numbers are stored as float16, half as large, and are meant as float32."""
    return path.parent == FOLDER
