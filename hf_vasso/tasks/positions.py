"""How many tokens a model has positions for."""

import math
from typing import Any

__all__ = ["model_positions"]


def model_positions(model: Any) -> float:
    """
    How many tokens a model takes.

    Args:
        model: One of Transformers.

    Returns:
        A count, at least 1; infinity where positions are relative to each other, as those of T5 are.
    """
    config = model.config.get_text_config()
    stated = getattr(config, "max_position_embeddings", None)
    is_relative = not getattr(config, "position_biased_input", True)  # DeBERTa, which states a number all the same
    limits = [math.inf if is_relative or stated is None or stated < 1 else stated]  # XLNet: -1, no limit
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and hasattr(module, "padding_idx"):
            # RoBERTa and its relatives number positions from the row after the padding row.
            first = 0 if module.padding_idx is None else module.padding_idx + 1
            limits.append(len(module.weight) - first)
    return min(limits)
