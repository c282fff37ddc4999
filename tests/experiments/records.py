"""What two runs that trained alike have in common."""

from pathlib import Path
from typing import Any

from fcn.training.records import read_records


def lasting(run: Path) -> list[dict[str, Any]]:
    """The records of a run without timing."""
    return [{k: v for k, v in record.items() if "second" not in k} for record in read_records(run / "metrics.jsonl")]
