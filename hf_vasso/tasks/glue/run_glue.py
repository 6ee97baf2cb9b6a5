"""Fine-tune a model on a GLUE task and evaluate it: what `hf-vasso glue` does."""

from collections.abc import Mapping, Sequence
from typing import Any

from datasets import disable_progress_bars
from transformers import (
    DataCollatorWithPadding,
    PretrainedConfig,
    PreTrainedTokenizerBase,
    TrainingArguments,
    default_data_collator,
    set_seed,
)

from hf_vasso.results.record import Record
from hf_vasso.tasks.errors import user_errors
from hf_vasso.tasks.glue.arguments import GlueArguments, parse_glue_arguments
from hf_vasso.tasks.glue.card import glue_card
from hf_vasso.tasks.glue.data import joint_fingerprint, load_task
from hf_vasso.tasks.glue.encoding import encode
from hf_vasso.tasks.glue.examples import select_examples, splits_to_load, validation_splits
from hf_vasso.tasks.glue.labels import label_order, ordered_metrics, ordered_predictions, task_labels
from hf_vasso.tasks.glue.metrics import majority_scores, metric_direction, recorded_metrics
from hf_vasso.tasks.glue.model import hub_options, load_model, load_tokenizer
from hf_vasso.tasks.glue.plan import plan_training
from hf_vasso.tasks.glue.probe import ProbeConfig, load_backbone, pooled_features
from hf_vasso.tasks.glue.table import Task, get_task
from hf_vasso.tasks.glue.tokenizer import fit_tokenizer
from hf_vasso.tasks.glue.trainer import GlueTrainer
from hf_vasso.tasks.plan import PlannedTraining, training_size
from hf_vasso.tasks.task_run import TaskRun
from hf_vasso.training.arguments import VassoTrainingArguments

__all__ = ["GlueRun", "main", "run_glue"]


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
        run = GlueRun(*parse_glue_arguments(arguments))
    return run.show()


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
    return GlueRun(glue, training).make()


class GlueRun(TaskRun[GlueArguments]):
    """
    A run of a GLUE task.

    Args:
        glue: Task, data and model.
        training: Method and training.
    """

    def __init__(self, glue: GlueArguments, training: VassoTrainingArguments) -> None:
        self.task = get_task(glue.task_name)
        super().__init__(glue, training)

    @property
    def task_name(self) -> str:
        return self.task.name

    @property
    def prediction_files(self) -> Mapping[str, str]:
        return self.task.prediction_files

    def check_model(self) -> None:
        load_tokenizer(self.arguments)

    def plan(self) -> PlannedTraining:
        return plan_training(self.arguments, self.training)

    def check(self) -> None:
        task = self.task
        if task.trained_on and (self.training.do_train or self.training.do_eval):
            raise ValueError(
                f"task {task.name} has nothing to train or evaluate on; fine-tune on {task.trained_on}, then pass "
                f"--task_name {task.name} --do_predict with that model as --model_name_or_path"
            )
        super().check()

    def load(self, arguments: GlueArguments, trains: bool) -> None:
        task, training = self.task, self.training
        names = splits_to_load(task, arguments, train=trains, evaluate=training.do_eval, predict=training.do_predict)
        if training.process_index > 0:
            disable_progress_bars()
        set_seed(training.seed)  # before the model draws its head
        with training.main_process_first(desc="loading the data"):
            data = load_task(task, arguments.data_dir, names)
        self.source, self.fingerprints = data.source, data.fingerprints
        model, tokenizer = load_model(arguments, task), load_tokenizer(arguments)
        config: Any = model.config
        backbone = None
        if isinstance(config, ProbeConfig):
            given = arguments.model if arguments.probe_hidden_size else arguments.backbone
            backbone = load_backbone(config, hub_options(arguments), given)
        fit_tokenizer(tokenizer, backbone or model, self._say)
        self.order = label_order(config, task)
        examples = select_examples(data.splits, task, arguments, training.seed)
        if trains:
            training_size(len(examples["train"]), training)  # raises where no batch would be left
        with training.main_process_first(desc="tokenising"):
            self.splits = encode(examples, task, tokenizer, arguments, self.order, self._say)
            if backbone is not None:
                self.splits = pooled_features(self.splits, tokenizer, backbone, training.device)
        self.judged_on = validation_splits(task, arguments)
        self.trainer = GlueTrainer(
            model=model,
            args=training,
            train_dataset=self.splits.get("train"),
            eval_dataset=self.splits.get(task.validation_splits[0]) if training.do_eval else None,
            processing_class=tokenizer,
            data_collator=_collator(config, tokenizer, training),
            compute_metrics=ordered_metrics(task, self.order),
        )

    def evaluate(self) -> dict[str, Any]:
        """Metrics of the first split stand under their bare names."""
        metrics, results, majority = {}, {}, {}
        for split in self.judged_on:
            suffix = "" if split == self.judged_on[0] else split.removeprefix("validation")
            scores = self.trainer.evaluate(self.splits[split])
            results |= {name + suffix: value for name, value in scores.items()}
            metrics |= {name + suffix: value for name, value in recorded_metrics(self.task, scores).items()}
            if not self.task.is_regression:
                labels = task_labels(self.splits[split]["label"], self.order).tolist()
                majority |= {name + suffix: value for name, value in majority_scores(self.task, labels).items()}
        self.keep_metrics("eval", results)
        return {
            "metrics": metrics,
            "eval_examples": len(self.splits[self.judged_on[0]]),
            "collapsed": bool(results["eval_collapsed"]),
            "majority": majority,
        }

    def predict(self) -> dict[str, Any]:
        for split, path in self.folder.prediction_files.items():
            outputs = self.trainer.predict(self.splits[split], metric_key_prefix="predict").predictions
            labels = ordered_predictions(self.task, outputs, self.order)
            if self.training.process_index == 0:
                lines = [f"{index}\t{_answer(self.task, label)}\n" for index, label in enumerate(labels)]
                self.folder.write(path.name, "index\tprediction\n" + "".join(lines))
        if self.training.process_index == 0:
            self.folder.keep_predicted({split: self.fingerprints[split] for split in self.folder.prediction_files})
        return {}

    def direction(self, metric: str) -> str:
        return metric_direction(self.task, metric)

    def card(self, record: Record) -> str:
        return str(glue_card(record, self.trainer.method))

    def joint_fingerprint(self, fingerprints: dict[str, str]) -> str:
        return joint_fingerprint(self.task, fingerprints)


def _collator(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase, training: TrainingArguments) -> Any:
    if isinstance(config, ProbeConfig):
        return default_data_collator  # features have one width
    fits = tokenizer.model_max_length % 8 == 0  # else padding would go beyond the model's positions
    return DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8 if training.fp16 and fits else None)


def _answer(task: Task, label: Any) -> str:
    """A label as GLUE's server reads it: its name, or the similarity between 0 and 5."""
    return f"{min(max(label, 0.0), 5.0):.3f}" if task.is_regression else task.label_names[label]
