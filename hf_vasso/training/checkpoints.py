"""
The checkpoints of a training: from which of them it goes on, and which of them go when a newer one is whole.

A checkpoint that is to be deleted or replaced is renamed first, and its files go
when a newer checkpoint is whole. So a folder that is called `checkpoint-<step>` has never been deleted in part.
"""

import json
import logging
import re
import shutil
import zipfile
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path
from types import NoneType
from typing import Any

from accelerate.utils import broadcast_object_list, gather_object
from safetensors import safe_open
from transformers import TrainerState, TrainingArguments
from transformers.trainer import OPTIMIZER_NAME, SCALER_NAME, SCHEDULER_NAME, TRAINER_STATE_NAME

from hf_vasso.training.manifest import MANIFEST, manifest_fault, unfinished_mark
from hf_vasso.training.state_file import STATE_FILES, read_state_file

__all__ = [
    "CHECKPOINT",
    "delete_checkpoint",
    "is_renamed_from",
    "checkpoint_fault",
    "checkpoint_to_continue",
    "last_checkpoint",
    "rotate",
    "set_aside",
    "whole_checkpoint",
]

logger = logging.getLogger(__name__)

_OLD = "_hf_vasso-old-"  # with an underscore, so that the Trainer does not upload it
CHECKPOINT = re.compile(rf"({_OLD})?checkpoint-(\d+)")
"""The name of a checkpoint's folder, of one that is to be deleted, too."""

_ANOTHER = f"name another, or delete its {MANIFEST} if that was meant, and it is taken unchecked"
_INTERRUPTED = "checkpoint-is-incomplete.txt"  # of the Trainer's own checkpoints at a SIGTERM, while they are written

# What of a state the Trainer calculates with when it resumes.
_STATE_TYPES: dict[str, tuple[type, ...]] = {
    "global_step": (int,),
    "max_steps": (int,),
    "num_train_epochs": (int, float),
    "epoch": (int, float),
    "logging_steps": (int, float),
    "eval_steps": (int, float),
    "save_steps": (int, float),
    "total_flos": (int, float),
    "num_input_tokens_seen": (int,),
    "train_batch_size": (int,),
    "log_history": (list,),
    "best_metric": (int, float, NoneType),
    "best_model_checkpoint": (str, NoneType),
    "best_global_step": (int, NoneType),
    "stateful_callbacks": (dict, NoneType),
}

Judge = Callable[[Path], str | None]


def last_checkpoint(args: TrainingArguments, unfit: Judge = lambda checkpoint: None) -> str | None:
    """
    The newest checkpoint of the output folder that is whole, the same on all ranks. A collective.

    The log names each that is passed over, and why, and says so where the one that is taken cannot be checked.

    Args:
        args: Those of the training.
        unfit: Why a whole checkpoint is not to be taken, None if it is.
    """
    found = [sorted(_checkpoints(Path(str(args.output_dir))), key=_age, reverse=True)]
    for checkpoint in broadcast_object_list(found)[0]:
        reason = _agreed(args, checkpoint, unfit)
        if reason is None:
            return _taken(args, checkpoint)
        if args.process_index == 0:
            logger.warning("%s is passed over: %s", checkpoint, reason)
    return None


def whole_checkpoint(args: TrainingArguments, named: str, unfit: Judge = lambda checkpoint: None) -> str:
    """
    The checkpoint that a user names. A collective.

    Args:
        args: Those of the training.
        named: The folder.
        unfit: Why a whole checkpoint is not to be taken, None if it is.

    Raises:
        ValueError: It is not whole, or unfit.
    """
    reason = _agreed(args, Path(named), unfit)
    if reason is not None:
        raise ValueError(f"{named} is no whole checkpoint: {reason}; name another")
    return _taken(args, Path(named))


def checkpoint_to_continue(args: TrainingArguments) -> str | None:
    """
    The checkpoint from which a command continues: the one that the user names, else the last one. A collective.

    One that holds only the model is passed over, and so is one of the last step: from there the Trainer takes one step
    too many where that step does not end an epoch. The steps since the checkpoint before give the same bits.

    Returns:
        None where there is none to continue from.

    Raises:
        ValueError: The training cannot be continued from the named one.
    """
    if args.resume_from_checkpoint is None:
        return last_checkpoint(args, lambda checkpoint: _only_the_model(checkpoint) or _last_step(checkpoint))
    return whole_checkpoint(args, args.resume_from_checkpoint, _only_the_model)


def checkpoint_fault(checkpoint: Path) -> str | None:
    """
    Why a checkpoint is not whole.

    Without a manifest, as the stock Trainer writes one, it is enough that its files can be read.

    Args:
        checkpoint: The folder.

    Returns:
        A file and what is wrong with it; None where the checkpoint is whole, as far as can be told.
    """
    if (checkpoint / MANIFEST).exists():
        return manifest_fault(checkpoint) or _state_fault(checkpoint)
    if (
        checkpoint.name.startswith(_OLD)
        or unfinished_mark(checkpoint).exists()
        or (checkpoint / _INTERRUPTED).exists()
    ):
        return "its writing was cut off"
    return _state_fault(checkpoint) or _unreadable(checkpoint)


def rotate(folder: Path, newest: Path | None, limit: int | None, best: str | None) -> None:
    """
    Delete the oldest checkpoints, as the Trainer does, but by their steps, and so that none is ever left in part.

    Args:
        folder: Where they are.
        newest: It is whole and stays. What has a later step is left from an earlier training and goes first.
        limit: How many are to be left, `save_total_limit`.
        best: It stays.
    """
    kept = {Path(each).resolve() for each in (newest, best) if each is not None}
    present = [each for each in _checkpoints(folder) if not each.name.startswith(_OLD)]
    if limit is not None and limit > 0:
        last = _step(newest) if newest is not None else 0
        others = [each for each in present if each.resolve() not in kept]
        others.sort(key=lambda each: (_step(each) <= last, _step(each)))
        surplus = len(present) - max(limit, len(present) - len(others))
        for checkpoint in others[: max(surplus, 0)]:
            with suppress(FileNotFoundError):  # somebody else has deleted it
                set_aside(checkpoint)
    for checkpoint in list(_checkpoints(folder)):
        if checkpoint.name.startswith(_OLD):
            _delete(checkpoint)


def set_aside(checkpoint: Path) -> Path:
    """
    Rename a checkpoint that is to be deleted. It can still be resumed from if nothing newer is whole.

    Returns:
        Its new path; that of one which has been renamed before.
    """
    if checkpoint.name.startswith(_OLD):
        return checkpoint
    aside = checkpoint.with_name(_OLD + checkpoint.name)
    _delete(aside)
    unfinished_mark(checkpoint).unlink(missing_ok=True)  # the new name says as much
    return checkpoint.rename(aside)


def delete_checkpoint(checkpoint: Path) -> None:
    """Delete a checkpoint; where that is interrupted, its name says that it is not whole."""
    _delete(set_aside(checkpoint))


def _delete(aside: Path) -> None:
    if aside.is_symlink():
        aside.unlink()
    else:
        shutil.rmtree(aside, ignore_errors=True)


def is_renamed_from(name: str, names: Collection[str]) -> bool:
    """Whether a folder is a checkpoint among some names that was to be deleted."""
    return CHECKPOINT.fullmatch(name) is not None and name.removeprefix(_OLD) in names


def _checkpoints(folder: Path) -> Iterator[Path]:
    return (path for path in folder.glob("*checkpoint-*") if CHECKPOINT.fullmatch(path.name) and path.is_dir())


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _age(checkpoint: Path) -> tuple[int, bool]:
    return _step(checkpoint), not checkpoint.name.startswith(_OLD)


def _agreed(args: TrainingArguments, checkpoint: Path, unfit: Judge) -> str | None:
    """The first reason of any rank not to take a checkpoint. Each that saves files looks at those that it sees."""
    own = (checkpoint_fault(checkpoint) or unfit(checkpoint)) if args.should_save else None
    return next((reason for reason in gather_object([own]) if reason is not None), None)


def _taken(args: TrainingArguments, checkpoint: Path) -> str:
    if args.process_index == 0 and not (checkpoint / MANIFEST).exists():
        logger.warning(
            "%s has no %s (made by the stock Trainer, or by an earlier version): whether its files are as they were "
            "written could not be checked.",
            checkpoint,
            MANIFEST,
        )
    return str(checkpoint)


def _state_fault(checkpoint: Path) -> str | None:
    """What is wrong with the trainer's state, which another release of Transformers may have written."""
    try:
        state = json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return f"{TRAINER_STATE_NAME} is missing or cut off"
    if not isinstance(state, dict):
        return f"{TRAINER_STATE_NAME} is not a state of a Trainer"
    defaults = vars(TrainerState())
    unknown = state.keys() - defaults.keys()
    if unknown:
        return f"{TRAINER_STATE_NAME} has {min(unknown)!r:.50}, which this release of Transformers does not know"
    state = {**defaults, "global_step": None, "max_steps": None, **state}
    wrong = [name for name, kinds in _STATE_TYPES.items() if not isinstance(state[name], kinds)]
    if not wrong:
        of_callbacks = [each for kept in (state["stateful_callbacks"] or {}).values() for each in _listed(kept)]
        entries = {"log_history": state["log_history"], "stateful_callbacks": of_callbacks}
        wrong = [name for name, each in entries.items() if not all(isinstance(entry, dict) for entry in each)]
        wrong += ["global_step"] if state["global_step"] < 0 else []
    return f"{TRAINER_STATE_NAME} has an unusable {wrong[0]}" if wrong else None


def _listed(kept: Any) -> list[Any]:
    return kept if isinstance(kept, list) else [kept]


def _unreadable(checkpoint: Path) -> str | None:
    """The first file of a checkpoint without a manifest that is cut off; `torch.save` writes archives with sums."""
    for path in sorted(checkpoint.iterdir()):
        try:
            if path.name in (OPTIMIZER_NAME, SCHEDULER_NAME, SCALER_NAME) or path.match("rng_state*.pth"):
                with zipfile.ZipFile(path) as archive:
                    damaged = archive.testzip()
                if damaged is not None:
                    return f"{path.name} was changed"
            elif path.suffix == ".safetensors":
                with safe_open(path, framework="pt"):
                    pass
        except Exception as error:  # zipfile raises many kinds for a damaged archive
            return f"{path.name} is cut off or was changed ({type(error).__name__})"
    try:
        for path in checkpoint.glob(STATE_FILES):
            read_state_file(str(path))
    except ValueError as error:
        return str(error)
    return None


def _only_the_model(checkpoint: Path) -> str | None:
    """The schedule is what is beside every kind of optimizer file."""
    if (checkpoint / SCHEDULER_NAME).exists():
        return None
    return (
        f"{checkpoint.name} holds only the model (--save_only_model), so its training cannot be continued; pass it as "
        "--model_name_or_path to begin a training with its weights"
    )


def _last_step(checkpoint: Path) -> str | None:
    state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
    return None if state.global_step < state.max_steps else "it is of the last step, which is made again"
