"""
Flags of the Trainer that the commands refuse, since they score every row once, compute metrics on all rows, record
what the flags say, and push a list of files.
"""

from collections.abc import Iterable, Mapping

from transformers.trainer_utils import HubStrategy

from hf_vasso.spelling import unknown_name
from hf_vasso.training.arguments import AnyTrainingArguments

__all__ = ["refuse_evaluation_flags", "refuse_unknown_metric"]

_ALL_AT_ONCE = "metrics are computed from all examples at once"
_OWN_COLUMNS = "the columns of the examples are known"
_ONE_LOOP = "evaluation uses one standard loop"
_OUT_OF_PLACE = {
    "auto_find_batch_size": "the record would name this batch size, whatever one the training came to; pass "
    "--per_device_train_batch_size with one that fits, and --gradient_accumulation_steps to make up for it",
    "batch_eval_metrics": _ALL_AT_ONCE,
    "eval_do_concat_batches": _ALL_AT_ONCE,
    "eval_use_gather_object": _ALL_AT_ONCE,
    "jit_mode_eval": _ONE_LOOP,
    "label_names": _OWN_COLUMNS,
    "past_index": "batches of an evaluation do not depend on each other",
    "prediction_loss_only": "metrics are computed from the predictions",
    "remove_unused_columns": _OWN_COLUMNS,
    "use_legacy_prediction_loop": _ONE_LOOP,
}
_WHOLE_CHECKPOINTS = (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS)


def refuse_evaluation_flags(training: AnyTrainingArguments, out_of_place: Mapping[str, str]) -> None:
    """
    Refuse flags that would change which rows are scored, or how, and those that make the record or a push untrue.

    Args:
        training: The training's flags. Flags that the installed version of Transformers does not have are skipped.
        out_of_place: More flags that must keep their default, with the reason.

    Raises:
        ValueError: One of them does not have its default, or two flags contradict each other.
    """
    entries = training.__dataclass_fields__
    for name, reason in {**_OUT_OF_PLACE, **out_of_place}.items():
        if name in entries and getattr(training, name) != entries[name].default:
            raise ValueError(f"{name} is not supported here, got {getattr(training, name)}; leave it out: {reason}")
    if training.eval_on_start and not training.do_eval:
        raise ValueError("eval_on_start needs something to evaluate on; add --do_eval, or leave it out")
    if training.push_to_hub and training.hub_strategy in _WHOLE_CHECKPOINTS:
        raise ValueError(
            f"hub_strategy {training.hub_strategy.value} pushes whole checkpoints, and pushed is a list of files: the "
            "model, its tokenizer, the card and the record; take every_save or end"
        )
    if training.push_to_hub and (training.fp16_full_eval or training.bf16_full_eval):
        raise ValueError(
            "fp16_full_eval and bf16_full_eval cast the model, and push_to_hub would push it so; push by a command "
            "that only trains (--do_train)"
        )


def refuse_unknown_metric(training: AnyTrainingArguments, known: Iterable[str]) -> None:
    """
    Refuse a `metric_for_best_model` that no evaluation computes; the Trainer would fail at the first checkpoint.

    Args:
        training: The training's flags.
        known: The metrics of an evaluation, without the prefix "eval_".

    Raises:
        ValueError: The metric is another one.
    """
    metric, known = training.metric_for_best_model, list(known)
    if metric is not None and metric.removeprefix("eval_") not in known:
        raise ValueError(unknown_name("metric_for_best_model", metric, known))
