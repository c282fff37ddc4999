"""What an error says of tensors that do not fit a model: how many do, what the reason may be, the first of each kind."""

from collections.abc import Iterable, Mapping

SHOWN = 8
"""Tensors of each kind that an error lists."""
_HEADS = ("fc.", "classifier.", "head.", "last_linear.")


def _begins(names: Iterable[str], beginnings: tuple[str, ...]) -> bool:
    return any(name.startswith(beginnings) for name in names)


_HINTS = (
    (
        lambda missing, left: any(f"{part}.{name}" in missing for part in ("encoder", "backbone") for name in left),
        "this is the file of an encoder or a classifier: from_torch(fcn.create_encoder(...), ...) takes it",
    ),
    (
        lambda missing, left: _begins(left, _HEADS) and not _begins(missing, _HEADS),
        "this is a classifier's file",
    ),
    (
        lambda missing, left: missing and all(name.startswith("aux_classifier.") for name in missing),
        "the checkpoint has no auxiliary head: build the model with aux=False",
    ),
    (
        lambda missing, left: missing and all(name.endswith(("running_mean", "running_var")) for name in missing),
        "there are no running statistics: are these named_parameters() instead of state_dict()?",
    ),
)
"""(Whether a reason is likely, the reason), of the names that are missing and left over; the first counts."""


def describe_misfit(
    fitting: int, missing: Mapping[str, str], misshapen: Mapping[str, str], left_over: Mapping[str, str]
) -> str:
    """A summary, the likely reason, and the first tensors of each kind, each on its line.

    Args:
        fitting: number of tensors that fit.
        missing: name of each tensor that the checkpoint has not -> what to say of it.
        misshapen: the same of those of another shape.
        left_over: the same of those that the model has not.
    """
    total = fitting + len(missing) + len(misshapen)
    counts = f"{len(missing)} missing, {len(left_over)} left over, {len(misshapen)} misshapen"
    lines = [f"{fitting} of {total} tensors fit; {counts}"]
    lines += [text for likely, text in _HINTS if likely(missing, left_over)][:1]
    for kind, texts in (("missing", missing), ("misshapen", misshapen), ("left over", left_over)):
        lines += [f"{kind}: {text}" for text in shorten(texts.values())]
    return "\n  ".join(lines)


def shorten(texts: Iterable[str]) -> list[str]:
    """The first few, and how many more there are."""
    texts = list(texts)
    return texts if len(texts) <= SHOWN else [*texts[:SHOWN], f"… and {len(texts) - SHOWN} more"]
