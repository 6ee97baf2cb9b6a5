"""Recipes: YAML files of flags, found by name among the shipped ones or by path, read as command-line arguments."""

import json
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from hf_vasso.spelling import shown, unknown_name
from hf_vasso.tasks.trust import refuse_from_file
from hf_vasso.tasks.yaml_file import read_mapping

__all__ = ["RECIPES", "expand_variables", "flag_words", "recipe_arguments", "recipe_names"]

RECIPES = Path(__file__).parents[1] / "recipes"

_FLAG = re.compile(r"[A-Za-z][\w-]*", re.ASCII)


def recipe_arguments(name_or_path: str, repeated: Collection[str] = (), command: str = "hf-vasso") -> list[str]:
    """
    Read a recipe as command-line arguments, so that its values are parsed and checked as those of the command line.

    Args:
        name_or_path: A shipped recipe, such as "glue/rte-vasso", or the path of a YAML file.
        repeated: Flags that the command line has too: some are taken from a recipe only then.
        command: The command that reads it, for the message.

    Returns:
        `--key value` for each key, in the order of the file; `null` leaves a flag at its default.

    Raises:
        ValueError: There is no such recipe, it is no mapping of flags, a variable that it names is not set, or it has
            a flag that only the command line may give.

    Example:
        >>> recipe_arguments("glue/rte-vasso")[:2]
        ['--task_name', 'rte']
    """
    path = _find(name_or_path)
    recipe = read_mapping(path)
    if "config" in recipe:
        raise ValueError(f"{path} names another recipe, {shown(recipe['config'])}; copy its lines instead")
    refuse_from_file(recipe, repeated, path, command)
    return flag_words(recipe, path)


def recipe_names() -> list[str]:
    """The names of the shipped recipes."""
    return [path.relative_to(RECIPES).with_suffix("").as_posix() for path in sorted(RECIPES.rglob("*.yaml"))]


def flag_words(flags: Mapping[str, Any], path: Path) -> list[str]:
    """
    Flags as the words of a command line.

    A plain YAML reader takes `1e-4` for a text; as a word it is the number that its author meant.

    Args:
        flags: Flag to value, as YAML has them.
        path: The file in which they stand, for the message.

    Returns:
        `--key value` for each flag; `null` leaves a flag at its default.

    Raises:
        ValueError: A variable that a value names is not set, or a key or value would be read as another flag.

    Example:
        >>> flag_words({"rho": 0.05, "fp16": True, "seed": None}, Path("some.yaml"))
        ['--rho', '0.05', '--fp16', 'true']
    """
    words = []
    for key, value in flags.items():
        if not _FLAG.fullmatch(key):
            raise ValueError(f"{path}: {shown(key)} is not the name of a flag")
        if value is not None:
            values = [expand_variables(word, path) for word in _words(value)]
            hyphens = [word for word in values if word.startswith("-")]
            if hyphens and len(values) > 1:
                raise ValueError(f"{path}: {key}: {shown(hyphens[0])} would be read as a flag, as it begins with -")
            words += [f"--{key}={values[0]}"] if hyphens else [f"--{key}", *values]
    return words


def expand_variables(text: str, path: Path) -> str:
    """
    Replace each ${VARIABLE} by its value in the environment.

    Args:
        text: A value.
        path: The file in which it stands, for the message.

    Returns:
        The value with the variables replaced.

    Raises:
        ValueError: A variable is not set.
    """

    def value(match: re.Match[str]) -> str:
        variable = match.group(1)
        if variable not in os.environ:
            raise ValueError(f"{path} uses ${{{variable}}}, which is not set; export {variable}=...")
        return os.environ[variable]

    return re.sub(r"\$\{(\w+)\}", value, text)


def _find(name_or_path: str) -> Path:
    path = Path(name_or_path)
    if path.is_file():
        return path
    if name_or_path not in recipe_names():
        raise ValueError(f"{unknown_name('recipe', name_or_path, recipe_names())}; or pass the path of a YAML file")
    return RECIPES / f"{name_or_path}.yaml"


def _words(value: Any) -> list[str]:
    if isinstance(value, list):
        return [word for item in value for word in _words(item)]
    if isinstance(value, (bool, dict)):
        return [json.dumps(value)]
    return [str(value)]
