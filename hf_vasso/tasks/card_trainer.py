"""Trainers whose model card is that of a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import Trainer

from hf_vasso.results.files import write_text
from hf_vasso.tasks.run_folder import MODEL_CARD

__all__ = ["CardMixin"]

_Base = Trainer if TYPE_CHECKING else object


class CardMixin(_Base):
    """Stands before a Trainer among the base classes: each push writes the card anew, with what is known by then."""

    card: str | None = None
    """The card's text, once the run has a record."""

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write `README.md`: the run's card, or the Trainer's own where a push comes before there is one."""
        if self.card is None:
            super().create_model_card(*args, **kwargs)
        elif self.is_world_process_zero():
            write_text(Path(str(self.args.output_dir), MODEL_CARD), self.card)
