"""The trainer of a GLUE task: flags of the data loader affect training only."""

from typing import Any

from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader

from hf_vasso.tasks.card_trainer import CardMixin
from hf_vasso.training.trainer import VassoTrainer

__all__ = ["GlueTrainer"]


class GlueTrainer(CardMixin, VassoTrainer):
    """A `VassoTrainer` with the card of its run, which evaluates and predicts every row once, in order."""

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        """Each row once, in order."""
        return self._loader(self.eval_dataset if eval_dataset is None else eval_dataset)

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader:
        """Each row once, in order."""
        return self._loader(test_dataset)

    def _loader(self, data: Any) -> DataLoader:
        """The Trainer's own may drop rows, sort them by length or reuse the loader of another split."""
        loader = DataLoader(
            self._remove_unused_columns(data),  # pyright: ignore[reportArgumentType]
            batch_size=self.args.eval_batch_size,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
        )
        # Rows are repeated so that all processes have equally many batches; the Trainer drops the repeated ones.
        return prepare_data_loader(loader, self.args.device, put_on_device=True)
