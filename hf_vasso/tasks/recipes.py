"""Recipes: YAML files of flags, found by name among the shipped ones or by path, read as command-line arguments."""

import json
import os
import re
from pathlib import Path
from typing import Any

import yaml

from hf_vasso.spelling import unknown_name

__all__ = ["RECIPES", "recipe_arguments", "recipe_names"]

RECIPES = Path(__file__).parents[1] / "recipes"


class _Loader(yaml.SafeLoader):
    """Reads yes, no, on and off as words, as YAML 1.2 does: `save_strategy: no` is the flag's value, not false."""


_BOOL = "tag:yaml.org,2002:bool"
_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL, re.compile("^(?:true|false)$", re.IGNORECASE), list("tTfF"))


def recipe_arguments(name_or_path: str) -> list[str]:
    """
    Read a recipe as command-line arguments, so that its values are parsed and checked as those of the command line.

    A plain YAML reader would take `1e-4` for a text; as an argument it is the number that its author meant.

    Args:
        name_or_path: A shipped recipe, such as "glue/rte-vasso", or the path of a YAML file.

    Returns:
        `--key value` for each key, in the order of the file; `null` leaves a flag at its default.

    Raises:
        ValueError: There is no such recipe, it is no mapping of flags, or a variable that it names is not set.

    Example:
        >>> recipe_arguments("glue/rte-vasso")[:2]
        ['--task_name', 'rte']
    """
    path = _find(name_or_path)
    try:
        recipe = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"recipe {path} is broken YAML: {error}") from error
    if not isinstance(recipe, dict):
        raise ValueError(f"recipe {path} must map flags to values, one `key: value` a line, got {recipe!r}")
    if "config" in recipe:
        raise ValueError(f"recipe {path} names another recipe, {recipe['config']!r}; copy its lines instead")
    arguments = []
    for key, value in recipe.items():
        if value is not None:
            arguments += [f"--{key}", *(_expand(path, word) for word in _words(value))]
    return arguments


def recipe_names() -> list[str]:
    """The names of the shipped recipes."""
    return [path.relative_to(RECIPES).with_suffix("").as_posix() for path in sorted(RECIPES.rglob("*.yaml"))]


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


def _expand(path: Path, word: str) -> str:
    """Replace each ${VARIABLE} by its value in the environment."""

    def value(match: re.Match[str]) -> str:
        variable = match.group(1)
        if variable not in os.environ:
            raise ValueError(f"recipe {path} uses ${{{variable}}}, which is not set; export {variable}=...")
        return os.environ[variable]

    return re.sub(r"\$\{(\w+)\}", value, word)
