"""Seismograms with picks as a `Source`: one file of NumPy's arrays, as the training sets of pickers are."""

import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int, Shaped

from fcn.data.layouts.layout import existing_folder
from fcn.data.layouts.splits import hashed
from fcn.data.source import IGNORE, LabelKind, Sample, position
from fcn.data.volumes.values import padding_of, scaled
from fcn.preprocessing import PerImage
from fcn.visualize import default_palette

FILE = "waveforms.npz"
WINDOW = 3000
"""Samples that are taken from `window_start` on, as PhaseNet does."""
_WANTED = ("names", "waveforms", "p_index", "s_index")


class PickSource:
    """Signals [L, C] of the file waveforms.npz, with a class number at the sample of each pick: 0 noise, 1 P, 2 S.

    The file holds `names` [N], `waveforms` [N, L, C], `p_index` and `s_index` [N] (the sample of each pick; below 0 where
    there is none), and, where it is there, `window_start` [N], from which 3000 samples are taken. The hashes of the names
    make the splits "train" and "val".

    Args:
        root: the folder of the file.
        split: "train", "val" or "all".
        per_image: brings each channel to its own mean and deviation ("z-score"), or percentiles.

    Raises:
        FileNotFoundError: there is no such file, or split.
        ValueError: an array is missing, arrays do not fit each other, or labels are to be of another kind.
    """

    classes = ("noise", "P", "S")
    ignore_index = IGNORE

    def __init__(
        self, root: str | Path | None, split: str, *, per_image: PerImage | None = None, label_kind: LabelKind = "classes"
    ):
        self.root = existing_folder(root)
        self.name, self.per_image, self.label_kind = self.root.resolve().name, per_image, label_kind
        if label_kind != "classes":
            raise ValueError(f"{self.root / FILE} holds picks, which the task picks learns; this task needs {label_kind}")
        arrays = _read(self.root / FILE)
        every = [str(name) for name in arrays["names"]]
        self.names = every if split == "all" else hashed(sorted(every), split)
        if not self.names:
            raise FileNotFoundError(f"{self.root / FILE} has no split {split!r}; there are train, val and all")
        self._rows = [every.index(name) for name in self.names]
        self._arrays, self.palette, self.padding = arrays, default_palette(3), padding_of(per_image)

    def file_sizes(self) -> dict[str, int]:
        """The bytes of the file."""
        return {FILE: (self.root / FILE).stat().st_size}

    @property
    def value_range(self) -> tuple[float, float] | None:
        """The values that become 0 and 255: the largest, either way; None where each signal has its own."""
        if self.per_image is not None:
            return None
        reach = float(np.abs(self._arrays["waveforms"]).max()) or 1.0
        return -reach, reach

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        index = position(index, len(self))
        return {"image": self.image(index), "label": self.label(index), "name": self.names[index]}

    def image(self, index: int) -> Float32[np.ndarray, "l c"]:
        """A signal alone."""
        return scaled(self.stored(index), self.per_image, self.value_range)

    def stored(self, index: int) -> Shaped[np.ndarray, "l c"]:
        """A signal as it is stored."""
        start, stop = self._window(index)
        return self._arrays["waveforms"][self._rows[index], start:stop]

    def label(self, index: int) -> Int[np.ndarray, " l"]:
        """The class of each sample; of picks outside of the window nothing is known."""
        start, stop = self._window(index)
        label = np.zeros(stop - start, np.int32)
        for kind, name in enumerate(("p_index", "s_index"), 1):
            place = int(self._arrays[name][self._rows[index]]) - start
            if 0 <= place < len(label):
                label[place] = kind
        return label

    def _window(self, index: int) -> tuple[int, int]:
        length = self._arrays["waveforms"].shape[1]
        if "window_start" not in self._arrays:
            return 0, length
        start = int(self._arrays["window_start"][self._rows[index]])
        return start, min(start + WINDOW, length)


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in (*_WANTED, "window_start") if name in stored.files}
    except (zipfile.BadZipFile, ValueError, KeyError) as error:
        raise ValueError(f"{path}: not a file of NumPy's arrays, or damaged ({error})") from None
    if missing := [name for name in _WANTED if name not in arrays]:
        raise ValueError(f"{path}: no array {missing[0]!r}; it holds {', '.join(_WANTED)} and perhaps window_start")
    counts = {len(values) for values in arrays.values()}
    if arrays["waveforms"].ndim != 3 or len(counts) > 1 or not arrays["waveforms"].size:
        raise ValueError(f"{path}: waveforms of shape {arrays['waveforms'].shape}; they are [N, L, C], all arrays of N rows")
    return arrays
