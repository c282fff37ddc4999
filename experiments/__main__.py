"""Lists the commands, and the presets of experiments.train with what they need and cost: `python -m experiments`."""

import sys

from experiments import COMMANDS, command


def overview() -> str:
    """Commands and presets, in lines of up to 80 columns."""
    from experiments.auto.config import AUTO
    from experiments.configuration.presets import DEFAULT, PRESETS

    rows = [("preset", "data", "needs", "time", "mIoU"), (AUTO, "yours; configures itself", "--data.root", "--budget", "-")]
    for name, preset in PRESETS.items():
        miou = "-" if preset.miou is None else f"{preset.miou:.3f}"
        rows.append((name, preset.data, preset.needs, _minutes(preset.seconds), miou))
    lines = [
        "python -m experiments.COMMAND --help explains the options of a command:",
        "",
        *(f"  {name:<13}{what}" for name, what in COMMANDS.items()),
        "",
        f"python -m experiments.train PRESET starts one of these ({DEFAULT} by default):",
        "",
        *(f"  {name:<17}{data:<30}{needs:<15}{time:>8}{miou:>7}" for name, data, needs, time, miou in rows),
        "",
        "time: training on two CPU cores; mIoU: on the validation split; -: not measured",
    ]
    return "\n".join(lines)


def _minutes(seconds: int | None) -> str:
    return "-" if seconds is None else f"{seconds / 60:.0f} min"


def main() -> None:
    if words := [word for word in sys.argv[1:] if not word.startswith("-")]:
        raise ValueError(f"give the command with a dot: python -m experiments.{' '.join(words)}")
    print(overview())


if __name__ == "__main__":
    command.run(main)
