"""Trainers whose model card is that of a run, and whose files are listed among those of the run."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import Trainer

from hf_vasso.tasks.model_files import is_model_file
from hf_vasso.tasks.own_files import MODEL_CARD
from hf_vasso.tasks.run_folder import RunFolder

__all__ = ["CardMixin"]

_Base = Trainer if TYPE_CHECKING else object


class CardMixin(_Base):
    """Stands before a Trainer among the base classes: each push writes the card anew, with what is known by then."""

    card: str | None = None
    """The card's text, once the run has a record."""

    folder: RunFolder | None = None
    """The run's folder."""

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write `README.md`: the run's card, or the Trainer's own where a push comes before there is one."""
        self._claim(MODEL_CARD)
        if self.card is None:
            super().create_model_card(*args, **kwargs)
        elif self.is_world_process_zero():
            assert self.folder is not None
            self.folder.write(MODEL_CARD, self.card)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """The Trainer's own, but for that of a push: the run has put its model into the folder already."""
        if output_dir is not None:
            super().save_model(output_dir, _internal_call)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        self._claim(f"checkpoint-{self.state.global_step}")
        super()._save_checkpoint(*args, **kwargs)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Copies the model out of the checkpoint first."""
        self._claim(*(path.name for path in Path(checkpoint_folder).iterdir() if is_model_file(path.name)))
        super()._push_from_checkpoint(checkpoint_folder)

    def _claim(self, *names: str) -> None:
        if self.folder is not None and self.is_world_process_zero():
            self.folder.claim(names)
