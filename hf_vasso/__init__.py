"""
Sharpness-aware fine-tuning (VASSO, SAM and others) for the Hugging Face Trainer.

Names load when they are first used (PEP 562), so that `import hf_vasso` costs no import of torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hf_vasso.engine import SharpnessAwareStep
    from hf_vasso.methods import METHODS, Method, get_method
    from hf_vasso.training.arguments import VassoSeq2SeqTrainingArguments, VassoTrainingArguments
    from hf_vasso.training.trainer import SharpnessAwareMixin, VassoSeq2SeqTrainer, VassoTrainer

__version__ = "0.1.0"

__all__ = [
    "METHODS",
    "Method",
    "SharpnessAwareMixin",
    "SharpnessAwareStep",
    "VassoSeq2SeqTrainer",
    "VassoSeq2SeqTrainingArguments",
    "VassoTrainer",
    "VassoTrainingArguments",
    "__version__",
    "get_method",
]

# Where each name is defined; the imports above tell type checkers the same, and a test compares the two.
_HOMES = {
    "METHODS": "hf_vasso.methods",
    "Method": "hf_vasso.methods",
    "SharpnessAwareMixin": "hf_vasso.training.trainer",
    "SharpnessAwareStep": "hf_vasso.engine",
    "VassoSeq2SeqTrainer": "hf_vasso.training.trainer",
    "VassoSeq2SeqTrainingArguments": "hf_vasso.training.arguments",
    "VassoTrainer": "hf_vasso.training.trainer",
    "VassoTrainingArguments": "hf_vasso.training.arguments",
    "get_method": "hf_vasso.methods",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value  # the next access finds it without this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
