"""Seismograms with picks as a `Source`: one file of NumPy's arrays, as the training sets of pickers are."""

import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int, Shaped

from fcn.data.layouts.layout import existing_folder
from fcn.data.layouts.splits import hashed
from fcn.data.source import IGNORE, LabelKind, Sample, position
from fcn.data.volumes.files import Volume
from fcn.data.volumes.values import padding_of, scaled
from fcn.preprocessing import PerImage
from fcn.visualize import default_palette

FILE = "waveforms.npz"
WINDOW = 3000
"""Samples that are taken from `window_start` on, as PhaseNet does."""
SIGNALS = ("names", "waveforms")
PICKS = ("p_index", "s_index")
FURTHER = ("window_start", "sampling_rate")


class PickSource:
    """Signals [L, C] of the file waveforms.npz, with a class number at the sample of each pick: 0 noise, 1 P, 2 S.

    The file holds `names` [N], `waveforms` [N, L, C], `p_index` and `s_index` [N] (the sample of each pick; below 0 where
    there is none), and, where they are there, `window_start` [N], from which 3000 samples are taken, and `sampling_rate`, the
    samples a second of all. The hashes of the names make the splits "train" and "val".

    Args:
        root: the folder of the file.
        split: "train", "val" or "all".
        per_image: brings each channel to its own mean and deviation ("z-score"), or percentiles.
        label_kind: "classes".
        picked: whether there must be picks; without them only `image` may be asked for.

    Raises:
        FileNotFoundError: there is no such file, or split.
        ValueError: an array is missing, arrays do not fit each other, a pick lies outside of its signal, or labels are to be
            of another kind.
    """

    classes: tuple[str, ...] = ("noise", "P", "S")
    ignore_index: int = IGNORE
    axes = 1

    def __init__(
        self,
        root: str | Path | None,
        split: str,
        *,
        per_image: PerImage | None = None,
        label_kind: LabelKind = "classes",
        picked: bool = True,
    ):
        self.root = existing_folder(root)
        self.name = self.root.resolve().name
        self.per_image: PerImage | None = per_image
        self.label_kind: LabelKind = label_kind
        if label_kind != "classes":
            raise ValueError(f"{self.root / FILE} holds picks, which the task picks learns; this task needs {label_kind}")
        arrays = _read(self.root / FILE, (*SIGNALS, *PICKS) if picked else SIGNALS)
        every = [str(name) for name in arrays["names"]]
        self.names = every if split == "all" else hashed(sorted(every), split)
        if not self.names:
            raise FileNotFoundError(f"{self.root / FILE} has no split {split!r}; there are train, val and all")
        self._rows = [every.index(name) for name in self.names]
        self._arrays, self.palette, self.padding = arrays, default_palette(3), padding_of(per_image)
        self.sampling_rate = float(arrays["sampling_rate"]) if "sampling_rate" in arrays else None
        """Samples a second; None where the file does not tell it."""

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

    @property
    def labels(self) -> list[str]:
        """The names of those that have labels: all."""
        return self.names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        index = position(index, len(self))
        return {"image": self.image(index), "label": self.label(index), "name": self.names[index]}

    def image(self, index: int) -> Float32[np.ndarray, "l c"]:
        """A signal alone."""
        return scaled(self.read(index).values, self.per_image, self.value_range)

    def read(self, index: int) -> Volume:
        """A signal as it is stored, [L, C]."""
        start, stop = self._window(index)
        return Volume(self._arrays["waveforms"][self._rows[index], start:stop])

    def label(self, index: int) -> Int[np.ndarray, " l"]:
        """The class of each sample; picks that lie outside of the window are in none."""
        start, stop = self._window(index)
        label = np.zeros(stop - start, np.int32)
        for kind, name in enumerate(PICKS, 1):
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


def _read(path: Path, wanted: tuple[str, ...]) -> dict[str, Shaped[np.ndarray, "..."]]:
    try:
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in (*SIGNALS, *PICKS, *FURTHER) if name in stored.files}
    except (zipfile.BadZipFile, ValueError, KeyError) as error:
        raise ValueError(f"{path}: not a file of NumPy's arrays, or damaged ({error})") from None
    if missing := [name for name in wanted if name not in arrays]:
        raise ValueError(f"{path}: no array {missing[0]!r}; it holds {', '.join(wanted)} and perhaps {', '.join(FURTHER)}")
    rows = {len(values) if values.ndim else 0 for name, values in arrays.items() if name != "sampling_rate"}
    if arrays["waveforms"].ndim != 3 or len(rows) > 1 or not arrays["waveforms"].size:
        raise ValueError(f"{path}: waveforms of shape {arrays['waveforms'].shape}; they are [N, L, C], all arrays of N rows")
    if "sampling_rate" in arrays and (arrays["sampling_rate"].shape or not arrays["sampling_rate"] > 0):
        raise ValueError(
            f"{path}: sampling_rate is {arrays['sampling_rate']}; give samples a second, one number for all signals"
        )
    _refuse_outside(path, arrays)
    return arrays


def _refuse_outside(path: Path, arrays: dict[str, Shaped[np.ndarray, "..."]]) -> None:
    """Raises a ValueError for a pick or a window that is not in its signal; a pick below 0 is none."""
    length = arrays["waveforms"].shape[1]
    for name in (*PICKS, "window_start"):
        places = arrays.get(name, np.zeros(0, int))
        outside = (places >= length) | ((places < 0) & (name == "window_start"))
        if outside.any():
            row = int(np.flatnonzero(outside)[0])
            raise ValueError(f"{path}: {name} of {arrays['names'][row]} is {places[row]}; its signal has {length} samples")
