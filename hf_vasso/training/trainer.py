"""
Sharpness-aware training as a drop-in for the Hugging Face `Trainer`.

`training_step` keeps the micro-batches of an optimizer step and runs nothing until its last one. That call runs all
passes, each micro-batch through `super().training_step`, so that autocast, label smoothing, loss functions and
gradient scaling are the Trainer's own, and callbacks never see perturbed weights.
"""

import inspect
import logging
import math
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Seq2SeqTrainer, Trainer
from transformers.trainer_utils import IntervalStrategy, has_length

from hf_vasso.engine import SharpnessAwareStep
from hf_vasso.methods import Method
from hf_vasso.training.arguments import SharpnessArguments
from hf_vasso.training.checkpoint_mixin import CheckpointMixin
from hf_vasso.training.example_losses import example_losses
from hf_vasso.training.loss_scale import own_count
from hf_vasso.training.model_card import add_method
from hf_vasso.training.passes import TrainerPasses, micro_batches
from hf_vasso.training.positions import positioned_data
from hf_vasso.training.refusals import refuse_unsupported, refuse_weights_of_each_process
from hf_vasso.training.rho_watch import RhoWatch
from hf_vasso.training.sharpness_log import SharpnessLog
from hf_vasso.training.state_file import load_state, read_state, state_path, write_state

__all__ = ["SharpnessAwareMixin", "VassoSeq2SeqTrainer", "VassoTrainer"]

logger = logging.getLogger(__name__)

_NOT_FINITE = {
    "clean": "The gradient at w was not finite at step %d and did not enter the method's state; further ones are "
    "counted in sharpness/skipped.",
    "perturbed": "The gradient at w + eps was not finite at step %d: the optimizer got the one at w (with fp16 it "
    "skips the step). Lower rho if this goes on; further ones are counted in sharpness/skipped.",
}


class SharpnessAwareMixin(CheckpointMixin):
    """
    Makes the optimizer steps of a `Trainer` sharpness-aware. Stands before the Trainer among the base classes.

    Args:
        *args: The Trainer's own.
        method: A preset's name or a `Method`. None: `args.method`, or "vasso" with plain `TrainingArguments`.
        **kwargs: The Trainer's own.

    Raises:
        ValueError: For a set-up in which two passes cannot be made right.

    Example:
        class VassoRewardTrainer(SharpnessAwareMixin, MyTrainer): ...
    """

    def __init__(self, *args: Any, method: str | Method | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sharpness_args = self.args if isinstance(self.args, SharpnessArguments) else SharpnessArguments()
        self._given_method = method
        self.method = self.sharpness_args.build_method(method)
        if isinstance(method, str):
            self.sharpness_args.method = method  # so that what records the arguments records the method that ran
        refuse_unsupported(self, self.sharpness_args.no_perturb)
        self._refuse_for_the_method()
        self._start_afresh()

    def sharpness_passes(self) -> dict[str, float]:
        """
        The passes over a micro-batch made so far by this rank, those before a resume included. A pass over a share of
        the examples counts as that share. Not counted are those of attempts that ran out of memory before
        `auto_find_batch_size` started the training over.
        """
        resumed_at_the_end = self._engine is None and self._saved_state is not None
        engine = self._current_engine() if resumed_at_the_end else self._engine
        backward = engine.passes if engine is not None else 0
        forward = backward + (engine.forward_passes_alone if engine is not None else 0)
        counts = {"forward": forward, "backward": backward}
        return {name: int(count) if count == int(count) else round(count, 2) for name, count in counts.items()}

    def example_losses(self, inputs: Mapping[str, Any], outputs: Any) -> Tensor:
        """
        The loss of each example, (examples,), by which a method such as ESAM chooses among them.

        To be overridden beside a loss of one's own. This one knows the heads of Transformers.

        Args:
            inputs: What `compute_loss` got, labels included; tensors that it edits in place are the edited ones.
            outputs: What it returned beside the loss.
        """
        return example_losses(self, inputs, outputs)

    @property
    def has_own_example_losses(self) -> bool:
        """Whether `example_losses` is overridden."""
        return type(self).example_losses is not SharpnessAwareMixin.example_losses

    def training_step(
        self, model: nn.Module, inputs: dict[str, Tensor | Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """
        Keep a micro-batch, and at the last one of the optimizer step run the step's passes.

        Returns:
            The loss at w over the whole step; zero for the micro-batches before the last.
        """
        self._held_inputs.append(inputs)
        if not self.accelerator.sync_gradients:  # set by the Trainer's loop before each call
            return torch.zeros((), device=self.args.device)
        held, self._held_inputs = self._held_inputs, []
        engine = self._current_engine()
        engine.optimizer = self.optimizer  # pyright: ignore[reportAttributeAccessIssue]
        passes = TrainerPasses(self, model, super().training_step)
        try:
            batches = micro_batches(self, self.method, held)
            result = engine.step(batches, passes, measure=self._is_logging_step())
        finally:
            self.accelerator.gradient_state._set_sync_gradients(True)
        if result.skipped_at is not None and engine.skipped_steps == 1:
            logger.warning(_NOT_FINITE[result.skipped_at], self.state.global_step + 1)
        self._sharpness_log.add(result)
        if self.is_world_process_zero():
            self._rho_watch.add(result, self.state.global_step, self.state.max_steps)
        return result.loss

    def prediction_step(self, *args: Any, **kwargs: Any) -> Any:
        """The Trainer's own, with a loss that does not grow with the number of processes."""
        with own_count(self):
            return super().prediction_step(*args, **kwargs)

    def get_train_dataloader(self) -> Any:
        """The Trainer's own, with the positions of the examples where the method must know them."""
        extra_loss = self.method.extra_loss
        with positioned_data(self) if extra_loss is not None and extra_loss.needs_positions else nullcontext():
            return super().get_train_dataloader()

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add the `sharpness/` entries to the Trainer's own log of training steps."""
        if "loss" in logs and "learning_rate" in logs:
            skipped = self._engine.skipped_steps if self._engine is not None else 0
            logs.update(self._sharpness_log.flush(skipped, self.accelerator.gather))  # type: ignore[arg-type]
        super().log(logs, *args, **kwargs)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write the Trainer's own card, with the method, its numbers and its paper added to what that has written."""
        path = Path(str(self.args.output_dir), "README.md")
        before = path.read_bytes() if path.is_file() else None
        super().create_model_card(*args, **kwargs)
        if self.is_world_process_zero() and path.is_file() and path.read_bytes() != before:
            add_method(path, self.method)

    def _inner_training_loop(self, *args: Any, **kwargs: Any) -> Any:
        self.method = self.sharpness_args.build_method(self._given_method)  # a search may have changed the numbers
        self._start_afresh()
        return super()._inner_training_loop(*args, **kwargs)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        state = self._current_engine().state_dict()  # a collective where parameters are sharded, so on every rank
        if self.args.should_save or self._state_rank > 0:
            write_state(state, output_dir, self._state_rank)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self._saved_state = read_state(checkpoint, self._state_rank)
            self._saved_state_file = state_path(checkpoint, self._state_rank)

    @property
    def _state_rank(self) -> int:
        """The rank whose state this one has: that of the first, unless each makes its ascents for itself."""
        return 0 if self.sharpness_args.ascent_sync else self.args.process_index

    def _refuse_for_the_method(self) -> None:
        has_own_loss = self.compute_loss_func is not None or type(self).compute_loss is not Trainer.compute_loss
        if self.method.selection is not None and has_own_loss and not self.has_own_example_losses:
            raise ValueError(
                f"method {self.method.name!r} chooses examples by their losses, and this trainer has a loss of its "
                "own: override example_losses beside it, or take another method"
            )
        needs_outputs = self.method.selection is not None or self.method.extra_loss is not None
        parameters = inspect.signature(type(self).compute_loss).parameters.values()
        gives_outputs = any(each.name == "return_outputs" or each.kind == each.VAR_KEYWORD for each in parameters)
        if needs_outputs and not gives_outputs:
            raise ValueError(
                f"method {self.method.name!r} needs the outputs of the model, and {type(self).__name__}.compute_loss "
                "has no argument return_outputs: give it one, as the Trainer's own has, or take another method"
            )
        some_examples = self.method.selection is not None or self.method.ascent_fraction < 1.0
        sync_each_batch = self.accelerator.gradient_state.plugin_kwargs.get("sync_each_batch", False)
        if sync_each_batch and not self.sharpness_args.ascent_sync:
            raise ValueError("ascent_sync=False and sync_each_batch contradict each other: leave one of them out")
        if some_examples and sync_each_batch:
            raise ValueError(
                f"method {self.method.name!r} makes a pass with some of the examples, for which ranks may have "
                "different numbers of micro-batches, and sync_each_batch averages each: leave that out"
            )

    def _start_afresh(self) -> None:
        """Forget everything about an earlier training: a second `train()`, a trial, a retry with smaller batches."""
        self._engine: SharpnessAwareStep | None = None
        self._saved_state: dict[str, Any] | None = None
        self._held_inputs: list[dict[str, Any]] = []
        self._sharpness_log = SharpnessLog()
        self._rho_watch = RhoWatch(self.method)

    def _current_engine(self) -> SharpnessAwareStep:
        """The engine of this training, made when the optimizer and the number of steps are known."""
        if self._engine is None:
            if self.method.schedule.perturbs:
                refuse_weights_of_each_process(self)
            model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
            self._engine = SharpnessAwareStep(
                self.method,
                model.named_parameters,  # the function: a callback may add to the model
                self.optimizer,  # pyright: ignore[reportArgumentType]
                total_steps=self.state.max_steps,
                **self._size_of_data(),
                scaler=self.accelerator.scaler,
                buffers=self._list_buffers,
                seed=self.args.seed,
                undo_on_error=False,  # an exception ends the training, and a second one starts afresh
                **self.sharpness_args.engine_options(),
            )
            self._engine.steps = self.state.global_step  # resumed without a saved state, rho goes on where it was
            if self._saved_state is not None:
                load_state(self._engine, self._saved_state, self._saved_state_file)
                self._saved_state = None
        return self._engine

    def _list_buffers(self) -> list[Tensor]:
        """Those of the model as it is now, and those of a loss that is a module."""
        model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        modules = [model, self.compute_loss_func]
        return [buffer for module in modules if isinstance(module, nn.Module) for buffer in module.buffers()]

    def _size_of_data(self) -> dict[str, int]:
        """The numbers that an extra loss asks for; other methods train on data without a length, too."""
        if self.method.extra_loss is None:
            return {}
        loader = self.callback_handler.train_dataloader
        if not has_length(loader):
            raise ValueError(
                f"{self.method.name} must know the steps of an epoch, and "
                f"{type(getattr(loader, 'dataset', loader)).__name__} has no length: give a data set with a length"
            )
        steps = max(math.ceil(len(loader) / self.args.gradient_accumulation_steps), 1)
        examples = self.num_examples(loader)  # pyright: ignore[reportArgumentType]
        return {"steps_per_epoch": steps, "num_examples": examples}

    def _is_logging_step(self) -> bool:
        """Whether the Trainer will log at the end of the running step."""
        step = self.state.global_step + 1
        if step == 1 and self.args.logging_first_step:
            return True
        if self.args.logging_strategy == IntervalStrategy.STEPS:
            return step % max(self.state.logging_steps, 1) == 0
        ends_epoch = self.accelerator.gradient_state.end_of_dataloader or step == self.state.max_steps
        return self.args.logging_strategy == IntervalStrategy.EPOCH and ends_epoch


class VassoTrainer(SharpnessAwareMixin, Trainer):
    """
    `transformers.Trainer` with sharpness-aware steps; VASSO unless told otherwise.

    Example:
        trainer = VassoTrainer(model=model, args=args, train_dataset=train, eval_dataset=dev)
    """


class VassoSeq2SeqTrainer(SharpnessAwareMixin, Seq2SeqTrainer):
    """`transformers.Seq2SeqTrainer` with sharpness-aware steps; VASSO unless told otherwise."""
