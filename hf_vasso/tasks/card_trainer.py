"""Trainers whose model card is that of a run, whose checkpoints are listed among its files, and which push a list."""

import json
import os
import shutil
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from huggingface_hub import HfApi
from transformers import Trainer
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.trainer_utils import HubStrategy
from transformers.utils import PushInProgress

from hf_vasso.results.files import write_text
from hf_vasso.results.record import RESULT_FILE
from hf_vasso.tasks.own_files import MODEL_CARD
from hf_vasso.tasks.run_folder import RunFolder

__all__ = ["PUSHED", "CardMixin"]

PUSHED = (
    *("adapter_config.json", "adapter_model.safetensors", "config.json", "generation_config.json"),
    *("model.safetensors", "model-?????-of-?????.safetensors", "model.safetensors.index.json"),
    *(MODEL_CARD, RESULT_FILE),
)
"""What a run pushes to the hub beside its tokenizer, as patterns of names: the model, the card and the record."""

_Base = Trainer if TYPE_CHECKING else object


class CardMixin(_Base):
    """
    Stands before a Trainer among the base classes: each push writes the card anew, with what is known by then.

    Only files of `PUSHED` and those of the tokenizer are uploaded, from copies that hold no folder of this machine.
    """

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

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """
        Upload the model with its tokenizer, the card and the record.

        Args:
            commit_message: What the hub's history says.
            blocking: Whether to wait for the end of the upload.
            token: Access token of the hub; None is that of the arguments.
            revision: The branch; None is that of the arguments.
            private: Of no use, as the repository was made with the trainer.
            **kwargs: For `create_model_card`.
        """
        if self.is_world_process_zero():
            self.create_model_card(**kwargs)
            self._finish_current_push()
            return self._upload(Path(str(self.args.output_dir)), str(commit_message), not blocking, token, revision)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if not self.is_world_process_zero() or self.args.hub_strategy == HubStrategy.END:
            return
        running = getattr(self, "push_in_progress", None)
        if running is not None and not running.is_done() and not self.args.hub_always_push:
            return
        message = f"Training in progress, step {self.state.global_step}"
        upload = self._upload(Path(checkpoint_folder), message, run_as_future=True)
        jobs: Any = [*(running.jobs if running is not None else []), upload]
        self.push_in_progress = PushInProgress(jobs)

    def _upload(
        self, folder: Path, message: str, run_as_future: bool, token: str | None = None, revision: str | None = None
    ) -> Any:
        """Copies are uploaded, as a checkpoint may be deleted meanwhile."""
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        copies = TemporaryDirectory(prefix="hf_vasso-push-")
        tokenizer: Any = self.processing_class
        tokenizer.save_pretrained(copies.name)
        for path in folder.iterdir():
            if path.is_file() and not path.is_symlink() and any(fnmatch(path.name, pattern) for pattern in PUSHED):
                shutil.copyfile(path, Path(copies.name, path.name))
        if self.card is None:  # PEFT's own has the folder of the model
            Path(copies.name, MODEL_CARD).unlink(missing_ok=True)
        _take_folders_from(Path(copies.name))
        upload: Any = HfApi().upload_folder(
            repo_id=str(self.hub_model_id),
            folder_path=copies.name,
            allow_patterns=sorted(p.relative_to(copies.name).as_posix() for p in Path(copies.name).rglob("*")),
            commit_message=message,
            token=token or self.args.hub_token,
            revision=revision or self.args.hub_revision,
            run_as_future=run_as_future,  # pyright: ignore[reportArgumentType]
        )
        if run_as_future:
            upload.add_done_callback(lambda _: copies.cleanup())
        else:
            copies.cleanup()
        return upload

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        self._claim(f"checkpoint-{self.state.global_step}")
        super()._save_checkpoint(*args, **kwargs)

    def _claim(self, *names: str) -> None:
        if self.folder is not None and self.is_world_process_zero():
            self.folder.claim(names)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Without the pickled arguments, which hold folders: `run.json` has what tells about the run."""
        super()._save(output_dir, state_dict)
        Path(output_dir or str(self.args.output_dir), TRAINING_ARGS_NAME).unlink(missing_ok=True)


def _take_folders_from(copies: Path) -> None:
    """PEFT and older tokenizers write down where a model lies; of a folder only its name is passed on."""
    for path in copies.glob("*config.json"):
        config = json.loads(path.read_text(encoding="utf-8"))
        folders = {
            key: os.path.basename(os.path.realpath(name))
            for key, name in config.items()
            if key.endswith("name_or_path")
            and isinstance(name, str)
            and (os.path.isabs(name) or (name and os.path.exists(name)))
        }
        if folders:
            write_text(path, json.dumps({**config, **folders}, indent=2))
