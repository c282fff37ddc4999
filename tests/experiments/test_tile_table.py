"""The table of how exact tiles are."""

from experiments.tile_table import row


def test_a_row():
    """Of exact tiles the difference is rounding; others say what sees the whole image."""
    name, halo, difference = row("unet", 1, base_features=2, depth=1)
    assert name == "`unet`" and int(halo) > 4 and 0 <= float(difference) < 1e-5
    assert row("unet", 0, base_features=2, depth=1) == [name, halo, ""]
    assert row("cpnet", 1, features=(4, 8))[2].startswith("blended: ")
