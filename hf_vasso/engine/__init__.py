"""The two-pass step for any training loop: torch only."""

from hf_vasso.engine.passes import Passes, StepResult
from hf_vasso.engine.step import SharpnessAwareStep

__all__ = ["Passes", "SharpnessAwareStep", "StepResult"]
