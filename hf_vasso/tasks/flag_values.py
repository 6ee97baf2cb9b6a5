"""The values of flags that no run can use, refused by name and range before anything is made from them."""

import math
from collections.abc import Mapping
from typing import Any

from hf_vasso.results.reading import is_number
from hf_vasso.spelling import is_text, shown

__all__ = ["MOST_SEED", "check_values"]

MOST_SEED = 2**32 - 1
"""The largest seed that NumPy takes."""

# Flag to the smallest and the largest value, both allowed; what Transformers checks itself is not among them.
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(
        (
            "gradient_accumulation_steps",
            "per_device_eval_batch_size",
            "per_device_train_batch_size",
        ),
        (1, 2**31 - 1),
    ),
    **dict.fromkeys(
        ("adam_epsilon", "learning_rate", "max_grad_norm", "num_train_epochs", "warmup_steps", "weight_decay"),
        (0, math.inf),
    ),
    **dict.fromkeys(("adam_beta1", "adam_beta2", "label_smoothing_factor"), (0, 1)),
    "seed": (0, MOST_SEED),
}
_RECORDED = "a finite number of the size of a measurement"


def check_values(flags: Mapping[str, Any]) -> None:
    """
    Refuse numbers that are not finite, absurdly large or out of the range of their flag, and text that is no text.

    Args:
        flags: Flag to value, as the command line gave it.

    Raises:
        ValueError: The message names flag, value and range.
    """
    for name, value in flags.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, int | float) and not isinstance(item, bool):
                _check_number(name, item)
            elif isinstance(item, str) and not is_text(item):
                raise ValueError(f"{name} must be text that UTF-8 can write, got {shown(item)}; spell it otherwise")


def _check_number(name: str, value: float) -> None:
    low, high = _RANGES.get(name, (-math.inf, math.inf))
    if not is_number(value):
        words = _RECORDED
    elif name == "max_steps" and value < 1 and value != -1:
        words = "at least 1, or -1 for all epochs"
    elif low <= value <= high:
        return
    else:
        words = f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:,}"
    raise ValueError(f"{name} must be {words}, got {shown(value)}")
