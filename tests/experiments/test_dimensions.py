"""The picture of the same network on a signal."""

import numpy as np
import pytest
from PIL import Image

from experiments import dimensions


def test_waves_have_the_periods_of_their_classes():
    signal, label = dimensions.scene(3)
    assert set(label) == {0, 1, 2}
    for kind, period in dimensions.PERIODS.items():
        part = signal[label == kind, 0]
        strongest = np.argmax(np.abs(np.fft.rfft(part))[1:]) + 1
        assert abs(len(part) / strongest - period) < period / 4


def test_the_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(dimensions, "learnt", lambda signals, labels, others, steps: dimensions.scene(0)[1][None])
    dimensions.main(["--out", str(tmp_path / "signal.png")])
    assert Image.open(tmp_path / "signal.png").size[0] > 500 and "100.0% of the samples" in capsys.readouterr().out
    with pytest.raises(FileExistsError, match="exists; give another name"):
        dimensions.main(["--out", str(tmp_path / "signal.png")])
