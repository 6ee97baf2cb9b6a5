"""The commands that make runs of tasks, and which of them a task is for: what suites know about tasks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_vasso.tasks.glue.arguments import parse_glue_arguments
from hf_vasso.tasks.glue.run_glue import GlueRun
from hf_vasso.tasks.glue.table import TASKS
from hf_vasso.tasks.task_run import TaskRun
from hf_vasso.tasks.translation.arguments import parse_translation_arguments
from hf_vasso.tasks.translation.corpora import CORPORA
from hf_vasso.tasks.translation.run_translation import TranslationRun

__all__ = ["TASK_NAMES", "Command", "command_for", "task_run"]


@dataclass(frozen=True)
class Command:
    """
    A command that makes runs of tasks.

    Args:
        name: Its name after `hf-vasso`.
        parse: From the words after that to flags.
        make: From these to a run.
        stages: What a run of a suite does unless its file says otherwise.
    """

    name: str
    parse: Callable[[Sequence[str]], tuple[Any, Any]]
    make: Callable[[Any, Any], TaskRun]
    stages: tuple[str, ...]

    @property
    def reports_test(self) -> bool:
        """Whether reports compare scores of the test part, so that the validation part may decide what is kept."""
        return "do_predict" in self.stages


_GLUE = Command("glue", parse_glue_arguments, GlueRun, ("do_train", "do_eval"))
_TRANSLATE = Command("translate", parse_translation_arguments, TranslationRun, ("do_train", "do_eval", "do_predict"))
_COMMANDS = {command.name: command for command in (_GLUE, _TRANSLATE)}

TASK_NAMES = (*TASKS, *CORPORA)
"""The tasks that are known by their names."""


def command_for(flags: Mapping[str, Any]) -> Command | None:
    """
    The command for a task.

    Args:
        flags: Those of the task, "task_name" among them.

    Returns:
        The command; None for a task that is unknown. A corpus of one's own is told by its "source_lang".

    Example:
        >>> command_for({"task_name": "rte"}).name, command_for({"task_name": "mine", "source_lang": "de"}).name
        ('glue', 'translate')
    """
    if flags["task_name"] in TASKS:
        return _GLUE
    return _TRANSLATE if flags["task_name"] in CORPORA or "source_lang" in flags else None


def task_run(words: Sequence[str]) -> TaskRun:
    """
    The run of a command line, not made yet.

    Args:
        words: Those after `hf-vasso`, the command's name first.

    Raises:
        ValueError: A flag is unknown, missing or has a wrong value.
    """
    command = _COMMANDS[words[0]]
    return command.make(*command.parse(words[1:]))
