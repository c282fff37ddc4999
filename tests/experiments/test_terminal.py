"""What commands say on a terminal."""

import json

from experiments.run_folder import RunFolder


def test_the_result_is_a_table_whatever_the_classes_are_called(tmp_path):
    values = {"val/miou": 0.5, "val/pixel_accuracy": None, "steps": 3, "seconds": 1.0}
    values |= {f"val/iou/{name}": value for name, value in (("道路", 0.5), ("\x1b[2J", None), ("x" * 99, 1.0))}
    (tmp_path / "result.json").write_text(json.dumps(values))
    _, road, clear, long, _ = RunFolder(tmp_path).describe_result().splitlines()
    assert road == "  道路" + 36 * " " + "  0.5000"
    assert clear == r"  \x1b[2J" + 33 * " " + "  absent"
    assert long == "  " + 39 * "x" + "…  1.0000"
