"""Fine-tune a model on a GLUE task and evaluate it: what `hf-vasso glue` does."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from datasets import disable_progress_bars
from transformers import (
    DataCollatorWithPadding,
    PretrainedConfig,
    PreTrainedTokenizerBase,
    TrainingArguments,
    default_data_collator,
    set_seed,
)

from hf_vasso.results.environment import environment
from hf_vasso.results.files import write_text
from hf_vasso.results.record import Record, write_record
from hf_vasso.results.summary import summary
from hf_vasso.tasks.arguments import GlueArguments, base_name, parse_glue_arguments
from hf_vasso.tasks.binding import binding_arguments, result_arguments, with_base_names
from hf_vasso.tasks.cost import NO_COST, TrainingClock, training_cost
from hf_vasso.tasks.data import joint_fingerprint, load_task
from hf_vasso.tasks.encoding import encode
from hf_vasso.tasks.errors import user_errors
from hf_vasso.tasks.examples import select_examples, splits_to_load, validation_splits
from hf_vasso.tasks.glue import Task, get_task
from hf_vasso.tasks.interruption import stop_on_signal
from hf_vasso.tasks.labels import label_order, ordered_metrics, ordered_predictions, task_labels
from hf_vasso.tasks.metrics import majority_scores, metric_direction, recorded_metrics
from hf_vasso.tasks.model import hub_options, load_model, load_tokenizer
from hf_vasso.tasks.model_card import GlueTrainer
from hf_vasso.tasks.plan import describe_plan
from hf_vasso.tasks.probe import ProbeConfig, pooled_features
from hf_vasso.tasks.run_folder import RunFolder
from hf_vasso.training.arguments import VassoTrainingArguments

__all__ = ["main", "run_glue"]

# How many examples a stage is done on. A finished training is evaluated again under another limit, not refused.
_LIMITS = {"do_eval": "max_eval_samples", "do_predict": "max_predict_samples"}


def main(arguments: Sequence[str]) -> int:
    """
    Run `hf-vasso glue`.

    Args:
        arguments: The words after the command's name.

    Returns:
        The exit status.

    Raises:
        UserError: The arguments, the data or the model cannot be used, or the run began with other flags.
        SystemExit: A signal interrupted the training; the status is 130 or 143.
    """
    with user_errors():
        glue, training = parse_glue_arguments(arguments)
    shown = _plan(glue, training) if glue.dry_run else summary(run_glue(glue, training), str(training.output_dir))
    if training.process_index == 0:
        print(shown)
    return 0


def run_glue(glue: GlueArguments, training: VassoTrainingArguments) -> Record:
    """
    Train, evaluate and predict as far as that is asked for and not done yet.

    An interrupted run is continued from its last checkpoint. A run that has trained is not trained again: what else
    is asked for is done with its model, in its output folder.

    Args:
        glue: Task, data and model.
        training: Method and training.

    Returns:
        The record, which is also written to `result.json` in the output folder, with a model card beside it.

    Raises:
        UserError: The data or the model cannot be used, or the run began with other flags.
        SystemExit: A signal interrupted the training; the status is 130 or 143.
    """
    task = get_task(glue.task_name)
    folder = RunFolder(str(training.output_dir), task)
    with user_errors():
        _check(task, folder, glue, training)
        record = None if glue.fresh else folder.record
        if record is not None and _is_done(glue, training, folder, record):
            _say(training, f"{folder.path}: finished before, nothing is trained (--fresh starts over)")
            return record
        run = _load(glue, training, task, folder)
    if training.process_index == 0:  # only now, so that a mistake found above can be mended without --fresh
        folder.begin(binding_arguments(glue, training), glue.fresh)
    if run.trains:
        _train(run, folder)
    before = None if run.trains else record  # what an earlier command found out about the same model
    if before is not None:
        glue = _with_limits_of(before, glue, training)
    evaluated = _evaluate(run, folder) if training.do_eval else _not_evaluated(run, folder, before)
    if training.do_predict:
        _predict(run, folder)
        _say(training, "\n".join(f"predictions: {path}" for path in folder.prediction_files.values()))
    trained = folder.training or _NOT_TRAINED
    record = _record(glue, training, {"environment": _environment(training), **trained["entries"], **evaluated})
    if training.process_index == 0:
        write_record(record, folder.path)
    run.trainer.record = record
    run.trainer.create_model_card()
    if training.push_to_hub:
        run.trainer.push_to_hub()
    return record


# What `RunFolder.training` and the record's entries about an evaluation are where there was none.
_NOT_TRAINED: dict[str, Any] = {"entries": {"train_examples": 0, "cost": NO_COST}, "fingerprints": {}}
_NOT_EVALUATED: dict[str, Any] = {"metrics": {}, "eval_examples": 0, "collapsed": None, "majority": {}}


@dataclass(frozen=True)
class _Run:
    """What is loaded for a run."""

    task: Task
    trainer: GlueTrainer
    splits: dict[str, Any]  # the Trainer takes a datasets.Dataset, though its annotations ask for torch's
    validation_splits: tuple[str, ...]
    order: list[int]
    source: str
    fingerprints: dict[str, str]
    trains: bool


def _plan(glue: GlueArguments, training: VassoTrainingArguments) -> str:
    with user_errors():
        task = get_task(glue.task_name)
        folder = RunFolder(str(training.output_dir), task)
        _check(task, folder, glue, training)
        return describe_plan(glue, training, task, folder)


def _check(task: Task, folder: RunFolder, glue: GlueArguments, training: VassoTrainingArguments) -> None:
    if task.trained_on and (training.do_train or training.do_eval):
        raise ValueError(
            f"task {task.name} has nothing to train or evaluate on; fine-tune on {task.trained_on}, then pass "
            f"--task_name {task.name} --do_predict with that model as --model_name_or_path"
        )
    folder.check_owner()
    if not glue.fresh:
        folder.check_arguments(binding_arguments(glue, training))


def _is_done(glue: GlueArguments, training: VassoTrainingArguments, folder: RunFolder, record: Record) -> bool:
    trained = not training.do_train or folder.training is not None
    evaluated = not training.do_eval or bool(record.metrics)
    predicted = not training.do_predict or all(path.exists() for path in folder.prediction_files.values())
    same_limits = all(
        getattr(glue, limit) == record.arguments[limit] for stage, limit in _LIMITS.items() if getattr(training, stage)
    )
    pushed = not training.push_to_hub  # nothing tells whether an earlier command came to that
    return trained and evaluated and predicted and same_limits and pushed


def _with_limits_of(record: Record, glue: GlueArguments, training: VassoTrainingArguments) -> GlueArguments:
    """The flags with the limits under which the stages that are not done again were done."""
    kept = {limit: record.arguments[limit] for stage, limit in _LIMITS.items() if not getattr(training, stage)}
    return replace(glue, **kept)


def _load(glue: GlueArguments, training: VassoTrainingArguments, task: Task, folder: RunFolder) -> _Run:
    has_trained = not glue.fresh and folder.training is not None
    trains = training.do_train and not has_trained
    if has_trained:
        glue = glue.with_trained_model(folder.path)
    names = splits_to_load(task, glue, train=trains, evaluate=training.do_eval, predict=training.do_predict)
    if training.process_index > 0:
        disable_progress_bars()
    set_seed(training.seed)  # before the model draws its head
    with training.main_process_first(desc="loading the data"):
        data = load_task(task, glue.data_dir, names)
    model, tokenizer = load_model(glue, task), load_tokenizer(glue)
    order = label_order(model.config, task)
    examples = select_examples(data.splits, task, glue, training.seed)
    with training.main_process_first(desc="tokenising"):
        splits = encode(examples, task, tokenizer, glue, order)
        if isinstance(model.config, ProbeConfig):
            splits = pooled_features(splits, tokenizer, model.config, hub_options(glue), training.device)
    trainer = GlueTrainer(
        model=model,
        args=training,
        train_dataset=splits.get("train"),
        eval_dataset=splits.get(task.validation_splits[0]) if training.do_eval else None,
        processing_class=tokenizer,
        data_collator=_collator(model.config, tokenizer, training),
        compute_metrics=ordered_metrics(task, order),
    )
    judged_on = validation_splits(task, glue)
    return _Run(task, trainer, splits, judged_on, order, data.source, data.fingerprints, trains)


def _train(run: _Run, folder: RunFolder) -> None:
    trainer, training = run.trainer, run.trainer.args
    clock = TrainingClock()
    trainer.add_callback(clock)
    with training.main_process_first(local=False, desc="looking for a checkpoint"):
        with user_errors():
            checkpoint = folder.checkpoint(training.resume_from_checkpoint)
        if training.process_index == 0:
            folder.clear_results()  # of an earlier command that only evaluated
    if checkpoint is not None:
        _say(training, f"{folder.path}: continuing from {checkpoint}")
    elif folder.has_checkpoints:
        _say(
            training,
            f"{folder.path}: the training starts over, as each checkpoint is cut off, of the last step, or holds only "
            "the model (--save_only_model)",
        )
    with stop_on_signal(trainer) as stop:
        metrics = trainer.train(resume_from_checkpoint=checkpoint).metrics
        step, last_step = trainer.state.global_step, trainer.state.max_steps
        if stop.received is None or step == last_step:
            if training.process_index == 0:
                folder.clear_model()
            trainer.save_model()
            trainer.save_metrics("train", metrics)
            if training.process_index == 0:
                entries = {
                    "train_examples": len(run.splits["train"]),
                    "cost": training_cost(trainer, clock),
                    "history": _history(trainer.state.log_history),
                    "environment": _environment(training),
                }
                folder.keep_training({"entries": entries, "fingerprints": run.fingerprints})
    if stop.received is not None:
        _say(training, f"{folder.path}: interrupted after step {step}; repeat the command to continue")
        raise SystemExit(128 + stop.received)


def _not_evaluated(run: _Run, folder: RunFolder, before: Record | None) -> dict[str, Any]:
    """The record's entries about an evaluation by an earlier command, or about none."""
    if before is None:
        return {**_NOT_EVALUATED, "data": _data(run, folder)}
    if before.metrics:
        _say(run.trainer.args, f"{folder.path}: not evaluated now; the metrics are those of an earlier command")
    return {name: getattr(before, name) for name in (*_NOT_EVALUATED, "data")}


def _evaluate(run: _Run, folder: RunFolder) -> dict[str, Any]:
    """The record's entries about the evaluation; metrics of the first split stand under their bare names."""
    metrics, results, majority = {}, {}, {}
    for split in run.validation_splits:
        suffix = "" if split == run.validation_splits[0] else split.removeprefix("validation")
        scores = run.trainer.evaluate(run.splits[split])
        results |= {name + suffix: value for name, value in scores.items()}
        metrics |= {name + suffix: value for name, value in recorded_metrics(run.task, scores).items()}
        if not run.task.is_regression:
            labels = task_labels(run.splits[split]["label"], run.order).tolist()
            majority |= {name + suffix: value for name, value in majority_scores(run.task, labels).items()}
    run.trainer.save_metrics("eval", results)
    return {
        "metrics": metrics,
        "eval_examples": len(run.splits[run.validation_splits[0]]),
        "collapsed": bool(results["eval_collapsed"]),
        "majority": majority,
        "data": _data(run, folder),
    }


def _data(run: _Run, folder: RunFolder) -> dict[str, str]:
    """The record's entry about the data: what the run was trained on, perhaps earlier, and is judged on."""
    fingerprints = {**(folder.training or _NOT_TRAINED)["fingerprints"], **run.fingerprints}
    return {"source": run.source, "fingerprint": joint_fingerprint(run.task, fingerprints)}


def _history(logs: Sequence[dict[str, Any]]) -> dict[str, list[float | None]]:
    """The columns of a record's history from the Trainer's log."""
    rows = [entries for entries in logs if "loss" in entries]
    return {
        name: [entries.get(name) for entries in rows]
        for name in ("step", "loss", "sharpness/gap")
        if any(name in entries for entries in rows)
    }


def _predict(run: _Run, folder: RunFolder) -> None:
    for split, path in folder.prediction_files.items():
        outputs = run.trainer.predict(run.splits[split], metric_key_prefix="predict").predictions
        labels = ordered_predictions(run.task, outputs, run.order)
        if run.trainer.args.process_index == 0:
            lines = [f"{index}\t{_answer(run.task, label)}\n" for index, label in enumerate(labels)]
            write_text(path, "index\tprediction\n" + "".join(lines))


def _record(glue: GlueArguments, training: VassoTrainingArguments, outcome: dict[str, Any]) -> Record:
    method = training.build_method()
    paper = asdict(method.paper) if method.paper else None
    return Record(
        task=glue.task_name,
        task_label=glue.task_label or glue.task_name,
        model=base_name(glue.model),
        label=glue.method_label or method.name,
        method={"name": method.name, "numbers": method.numbers, "paper": paper},
        seed=training.seed,
        directions={name: metric_direction(get_task(glue.task_name), name) for name in outcome["metrics"]},
        arguments=with_base_names(result_arguments(glue, training)),
        **outcome,
    )


def _environment(training: TrainingArguments) -> dict[str, Any]:
    return environment(_device_name(training.device), torch.get_num_threads())


def _collator(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase, training: TrainingArguments) -> Any:
    if isinstance(config, ProbeConfig):
        return default_data_collator  # features have one width
    return DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8 if training.fp16 else None)


def _answer(task: Task, label: Any) -> str:
    """A label as GLUE's server reads it: its name, or the similarity between 0 and 5."""
    return f"{min(max(label, 0.0), 5.0):.3f}" if task.is_regression else task.label_names[label]


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _say(training: TrainingArguments, message: str) -> None:
    if training.process_index == 0:
        print(message)
