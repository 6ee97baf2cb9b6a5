"""Trainers whose model card is that of a run, and which push a list of files."""

import json
import os
import shutil
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from huggingface_hub import HfApi
from peft.utils import CONFIG_NAME as ADAPTER_CONFIG
from transformers import Trainer
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.trainer_utils import HubStrategy
from transformers.utils import PushInProgress

from hf_vasso.results.files import write_text
from hf_vasso.results.record import RESULT_FILE
from hf_vasso.tasks.run_folder import MODEL_CARD

__all__ = ["PUSHED", "CardMixin"]

PUSHED = (
    *("adapter_config.json", "adapter_model.safetensors", "config.json", "generation_config.json"),
    *("model.safetensors", "model-?????-of-?????.safetensors", "model.safetensors.index.json"),
    *("added_tokens.json", "chat_template.jinja", "merges.txt", "special_tokens_map.json", "tokenizer.json"),
    *("tokenizer_config.json", "vocab.json", "vocab.txt", "*.model", "*.spm"),
    *(MODEL_CARD, RESULT_FILE),
)
"""What a run pushes to the hub, as patterns of names: the model, its tokenizer, the card and the record."""

_Base = Trainer if TYPE_CHECKING else object


class CardMixin(_Base):
    """
    Stands before a Trainer among the base classes: each push writes the card anew, with what is known by then.

    Only files of `PUSHED` are uploaded, from copies that hold no folder of this machine.
    """

    card: str | None = None
    """The card's text, once the run has a record."""

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write `README.md`: the run's card, or the Trainer's own where a push comes before there is one."""
        if self.card is None:
            super().create_model_card(*args, **kwargs)
        elif self.is_world_process_zero():
            write_text(Path(str(self.args.output_dir), MODEL_CARD), self.card)

    def push_to_hub(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, commit_message: str = "End of training", blocking: bool = True, revision: str | None = None
    ) -> Any:
        """
        Save the model and upload it with its tokenizer, the card and the record.

        Args:
            commit_message: What the hub's history says.
            blocking: Whether to wait for the end of the upload.
            revision: The branch; None is that of the arguments.
        """
        self.save_model(_internal_call=True)
        if self.is_world_process_zero():
            self.create_model_card()
            self._finish_current_push()
            return self._upload(Path(str(self.args.output_dir)), commit_message, not blocking, revision)

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

    def _upload(self, folder: Path, message: str, run_as_future: bool, revision: str | None = None) -> Any:
        """Copies are uploaded, as a checkpoint may be deleted meanwhile."""
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        copies = TemporaryDirectory(prefix="hf_vasso-push-")
        for path in folder.iterdir():
            if path.is_file() and any(fnmatch(path.name, pattern) for pattern in PUSHED):
                shutil.copyfile(path, Path(copies.name, path.name))
        _take_folder_from(Path(copies.name, ADAPTER_CONFIG))
        if self.card is None:  # PEFT's own has the folder of the model
            Path(copies.name, MODEL_CARD).unlink(missing_ok=True)
        upload: Any = HfApi().upload_folder(
            repo_id=str(self.hub_model_id),
            folder_path=copies.name,
            allow_patterns=list(PUSHED),
            commit_message=message,
            token=self.args.hub_token,
            revision=revision or self.args.hub_revision,
            run_as_future=run_as_future,  # pyright: ignore[reportArgumentType]
        )
        if run_as_future:
            upload.add_done_callback(lambda _: copies.cleanup())
        else:
            copies.cleanup()
        return upload

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Without the pickled arguments, which hold folders: `run.json` has what tells about the run."""
        super()._save(output_dir, state_dict)
        Path(output_dir or str(self.args.output_dir), TRAINING_ARGS_NAME).unlink(missing_ok=True)


def _take_folder_from(adapter_config: Path) -> None:
    """PEFT writes down where the model lies to which adapters belong; of a folder only its name is passed on."""
    if adapter_config.exists():
        config = json.loads(adapter_config.read_text(encoding="utf-8"))
        name = str(config.get("base_model_name_or_path"))
        if os.path.isabs(name) or os.path.exists(name):
            config["base_model_name_or_path"] = os.path.basename(os.path.realpath(name))
            write_text(adapter_config, json.dumps(config, indent=2))
