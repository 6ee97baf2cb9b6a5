"""One run of a task, whatever the task: go on where it was, train, evaluate, predict, and write the record."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from hf_vasso.results.environment import environment
from hf_vasso.results.record import Record
from hf_vasso.results.summary import summary
from hf_vasso.tasks.binding import binding_arguments
from hf_vasso.tasks.cost import NO_COST, TrainingClock, device_name, training_cost, training_history
from hf_vasso.tasks.errors import disk_errors, user_errors
from hf_vasso.tasks.interruption import stop_on_signal
from hf_vasso.tasks.model_files import FINGERPRINT
from hf_vasso.tasks.plan import PlannedTraining, describe_plan
from hf_vasso.tasks.run_folder import RunFolder
from hf_vasso.tasks.run_record import has_limits, run_record, with_limits_of
from hf_vasso.tasks.task_arguments import TaskArguments
from hf_vasso.training.arguments import AnyTrainingArguments
from hf_vasso.training.checkpoints import checkpoint_to_continue

__all__ = ["TaskRun"]

Arguments = TypeVar("Arguments", bound=TaskArguments)

# What `RunFolder.training` and the record's entries about an evaluation are where there was none.
_NOT_TRAINED: dict[str, Any] = {"entries": {"train_examples": 0, "cost": NO_COST}, "fingerprints": {}}
_NOT_EVALUATED: dict[str, Any] = {
    "metrics": {},
    "eval_examples": 0,
    "collapsed": None,
    "majority": {},
    "signatures": {},
}


class TaskRun(ABC, Generic[Arguments]):
    """
    A run: what is asked for on a command line, and how a task does it.

    Args:
        arguments: Task, data and model.
        training: Method and training.
    """

    trainer: Any
    """A Trainer with a `CardMixin`. It is set by `load`, as the others below are."""

    splits: dict[str, Any]
    """Split name to the examples that the trainer takes."""

    source: str
    """Where the data came from."""

    fingerprints: dict[str, str]
    """Split name to that of its data."""

    environment: dict[str, Any]
    """The record's entry about where it takes place."""

    def __init__(self, arguments: Arguments, training: AnyTrainingArguments) -> None:
        self.arguments = arguments
        self.training = training
        in_place = Path(str(training.output_dir)).resolve() == Path(arguments.model).resolve()
        self.folder = RunFolder(str(training.output_dir), self.prediction_files, replaces_model=in_place)

    @property
    @abstractmethod
    def task_name(self) -> str:
        """The task, as records name it."""

    @property
    @abstractmethod
    def prediction_files(self) -> Mapping[str, str]:
        """Test split to the name of the file with its predictions."""

    @abstractmethod
    def check_model(self) -> None:
        """
        Look for the model, without its weights.

        Raises:
            OSError: It is not to be found.
        """

    @abstractmethod
    def plan(self) -> PlannedTraining | None:
        """What the training will spend; None where only data on the hub can tell."""

    @abstractmethod
    def load(self, arguments: Arguments, trains: bool) -> None:
        """
        Load data and model and build the trainer.

        Args:
            arguments: Those of the run; where it has trained before, for the model that it has saved.
            trains: Whether it is going to train.
        """

    @abstractmethod
    def evaluate(self) -> dict[str, Any]:
        """The record's entries about the evaluation, "metrics" and "eval_examples" among them."""

    @abstractmethod
    def predict(self) -> dict[str, Any]:
        """Write the files with the predictions; return what of the record's entries that changes, if anything."""

    @abstractmethod
    def direction(self, metric: str) -> str:
        """Whether "higher" or "lower" values of a metric are better."""

    @abstractmethod
    def card(self, record: Record) -> str:
        """The text of the model card."""

    @abstractmethod
    def joint_fingerprint(self, fingerprints: dict[str, str]) -> str:
        """That of the data on which a run was trained and judged, from those of its splits."""

    def earlier_record(self) -> Record | None:
        """The record that an earlier command has written in this folder, None where it has none that still holds."""
        return self.folder.record

    def cost(self, clock: TrainingClock) -> dict[str, float]:
        """What the training has cost, of which the clock has counted the seconds."""
        return training_cost(self.trainer, clock)

    def keep_metrics(self, stage: str, metrics: Mapping[str, float]) -> None:
        """Write the metrics of a stage, "train", "eval" or "predict", to its file in the folder."""
        if self.training.process_index == 0:
            self.folder.keep_metrics(stage, metrics)

    def finish_training(self) -> None:
        """Change the trained model before it is saved, where that is asked for."""

    def has_evaluated(self, record: Record) -> bool:
        """Whether a record has what `evaluate` finds out."""
        return bool(record.metrics)

    def predicted(self, record: Record) -> dict[str, Any] | None:
        """What of a record's entries `predict` has found out, None if it has not; some tasks only write files."""
        return {}

    def check(self) -> None:
        """
        Refuse to go on with something else than the folder holds.

        Raises:
            ValueError: The folder has files of another origin that the run would replace, or the run in it began with
                other flags.
        """
        if self.training.process_index == 0:
            self.folder.check_files(self.arguments.fresh)
        if self.training.push_to_hub:
            self.folder.check_links()
        if self.arguments.fresh:
            self.folder.check_below(
                {**self.arguments.folders, "resume_from_checkpoint": self.training.resume_from_checkpoint}
            )
        else:
            asked = binding_arguments(self.arguments, self.training)
            if self.folder.path.resolve() == Path(self.arguments.model).resolve():
                asked.pop(FINGERPRINT, None)  # the trained model takes the place of the one with which it began
            if self.folder.training is not None:
                del asked["num_processes"]  # any number of them evaluates and predicts the same
            self.folder.check_arguments(asked)

    def show(self) -> int:
        """
        Make the run, or with `--dry_run` only describe it, and print what came out.

        Returns:
            The exit status.

        Raises:
            UserError: The data or the model cannot be used, or the run began with other flags.
            SystemExit: A signal interrupted the training; the status is 130 or 143.
        """
        self._say(self._plan() if self.arguments.dry_run else summary(self.make(), str(self.training.output_dir)))
        return 0

    def make(self, patience: float = 0.0) -> Record:
        """
        Train, evaluate and predict as far as that is asked for and not done yet.

        Args:
            patience: How many seconds to wait for another command that works in the output folder.

        Returns:
            The record, which is also written to `result.json` in the output folder, with a model card beside it.

        Raises:
            UserError: Something cannot be used or written, or the folder is another run's or another command's.
            SystemExit: A signal interrupted the training; the status is 130 or 143.
        """
        with disk_errors(self.folder.path), ExitStack() as held:
            with user_errors():
                self._take_folder(held, patience)
                record = None if self.arguments.fresh else self.earlier_record()
                if record is not None and self._is_done(record):
                    self._say(f"{self.folder.path}: finished before, nothing is trained (--fresh starts over)")
                    self.folder.clear_failure()
                    return record
                has_trained = not self.arguments.fresh and self.folder.training is not None
                trains = self.training.do_train and not has_trained
                if trains and self.training.resume_from_checkpoint is not None:
                    checkpoint_to_continue(self.training)  # before anything is deleted
                arguments = self.arguments.with_trained_model(self.folder.path) if has_trained else self.arguments
                self.load(arguments, trains)
                self.trainer.folder = self.folder
            self.environment = environment(device_name(self.training.device), torch.get_num_threads())
            if self.training.process_index == 0:  # only now, so that a mistake above can be mended without --fresh
                self.folder.begin(binding_arguments(self.arguments, self.training), self.arguments.fresh)
            if trains:
                self._train()
            elif self.training.push_to_hub and not has_trained:
                self._save_model(None)
            return self._write(before=None if trains else record)  # what an earlier command found out about the model

    def _take_folder(self, held: ExitStack, patience: float) -> None:
        """Hold the folder in one process for as long as the command works in it, and check what is there."""
        with self.training.main_process_first(local=False, desc="taking the output folder"):
            if self.training.process_index == 0:
                held.enter_context(self.folder.hold(patience))
            self.check()
            if self.training.process_index == 0:
                self.folder.finish_model()

    def _plan(self) -> str:
        with user_errors():
            self.check()
            planned = self.plan() if self.training.do_train else None
            return describe_plan(self.arguments, self.training, self.task_name, self.folder, planned)

    def _write(self, before: Record | None) -> Record:
        """Evaluate and predict, and write the record and the card."""
        arguments = self.arguments if before is None else with_limits_of(before, self.arguments, self.training)
        evaluated = self._evaluated(before)
        predicted = self._predicted(before)
        metrics = predicted.get("metrics", {})  # they stand first, and those of an earlier prediction do not hold
        outcome = {**evaluated, **predicted, "metrics": {**metrics, **evaluated["metrics"], **metrics}}
        trained = (self.folder.training or _NOT_TRAINED)["entries"]
        directions = {name: self.direction(name) for name in outcome["metrics"]}
        outcome = {"environment": self.environment, **trained, **outcome, "directions": directions}
        record = run_record(self.task_name, arguments, self.training, self.folder.training_arguments, outcome)
        if self.training.process_index == 0:
            self.folder.keep_record(record)
        self.trainer.card = self.card(record)
        self.trainer.create_model_card()
        if self.training.push_to_hub:
            self.trainer.push_to_hub()
        return record

    def _is_done(self, record: Record) -> bool:
        asked = self.training
        trained = not asked.do_train or self.folder.training is not None
        evaluated = not asked.do_eval or self.has_evaluated(record)
        predicted = not asked.do_predict or (
            self.predicted(record) is not None and all(path.exists() for path in self.folder.prediction_files.values())
        )
        same_limits = has_limits(record, self.arguments, asked)
        pushed = not asked.push_to_hub  # nothing tells whether an earlier command came to that
        return trained and evaluated and predicted and same_limits and pushed

    def _train(self) -> None:
        clock = TrainingClock()
        self.trainer.add_callback(clock)
        checkpoint = self._checkpoint()
        with stop_on_signal(self.trainer) as stop:
            metrics = self.trainer.train(resume_from_checkpoint=checkpoint).metrics
            step, last_step = self.trainer.state.global_step, self.trainer.state.max_steps
            if stop.received is None or step == last_step:
                self._keep_model(metrics, clock)
        if stop.received is not None:
            self._say(f"{self.folder.path}: interrupted after step {step}; repeat the command to continue")
            raise SystemExit(128 + stop.received)

    def _checkpoint(self) -> str | None:
        """The checkpoint from which the training goes on."""
        with user_errors():
            checkpoint = checkpoint_to_continue(self.training)
        if self.training.process_index == 0:
            self.folder.clear_results()  # of an earlier command that only evaluated
        if checkpoint is not None:
            self._say(f"{self.folder.path}: continuing from {checkpoint}")
        elif self.folder.checkpoint_steps:
            self._say(
                f"{self.folder.path}: the training starts over, as each checkpoint is cut off, of the last step, or "
                "holds only the model (--save_only_model)"
            )
        return checkpoint

    def _keep_model(self, metrics: dict[str, float], clock: TrainingClock) -> None:
        self.finish_training()
        entries = {
            "train_examples": len(self.splits["train"]),
            "cost": self.cost(clock),
            "history": training_history(self.trainer),
            "environment": self.environment,
        }
        self.keep_metrics("train", metrics)
        self._save_model({"entries": entries, "fingerprints": self.fingerprints})
        if self.training.push_to_hub:
            self.trainer.push_to_hub(commit_message="Model save")

    def _save_model(self, training: dict[str, Any] | None) -> None:
        if self.training.process_index == 0:
            self.folder.stage_model()
        self.trainer.save_model(str(self.folder.staging), _internal_call=True)  # which leaves the push to the run
        if self.training.process_index == 0:
            self.folder.keep_model(training)

    def _evaluated(self, before: Record | None) -> dict[str, Any]:
        """The record's entries about an evaluation: now, by an earlier command, or none."""
        if self.training.do_eval:
            return {**self.evaluate(), "data": self._data()}
        if before is None:
            return {**_NOT_EVALUATED, "data": self._data()}
        if self.has_evaluated(before):
            self._say(f"{self.folder.path}: not evaluated now; the metrics are those of an earlier command")
        return {name: getattr(before, name) for name in (*_NOT_EVALUATED, "data")}

    def _predicted(self, before: Record | None) -> dict[str, Any]:
        """The record's entries about a prediction: now, by an earlier command, or none."""
        if self.training.do_predict:
            found = self.predict()
            self._say("\n".join(f"predictions: {path}" for path in self.folder.prediction_files.values()))
            return found
        return {} if before is None else self.predicted(before) or {}

    def _data(self) -> dict[str, str]:
        """The record's entry about the data: what the run was trained on, perhaps earlier, and is judged on."""
        fingerprints = {**(self.folder.training or _NOT_TRAINED)["fingerprints"], **self.fingerprints}
        return {"source": self.source, "fingerprint": self.joint_fingerprint(fingerprints)}

    def _say(self, message: str) -> None:
        if self.training.process_index == 0:
            print(message)
