"""Recipes: YAML files of flags, found by name among the shipped ones or by path, read as command-line arguments."""

import json
import os
import re
import reprlib
from collections.abc import Collection, Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from hf_vasso.spelling import unknown_name
from hf_vasso.tasks.trust import refuse_from_file

__all__ = ["RECIPES", "expand_variables", "flag_words", "read_mapping", "recipe_arguments", "recipe_names"]

RECIPES = Path(__file__).parents[1] / "recipes"

_FLAG = re.compile(r"[A-Za-z][\w-]*", re.ASCII)
_NUMBER = re.compile(r"-[\d.]+(e[+-]?\d+)?|-inf", re.ASCII | re.IGNORECASE)


class _Loader(yaml.SafeLoader):
    """
    Reads yes, no, on and off as words, as YAML 1.2 does: `save_strategy: no` is the flag's value, not false.

    A key that stands twice in a mapping is refused, as the first one would be lost without a word.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


_BOOL = "tag:yaml.org,2002:bool"
_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL, re.compile("^(?:true|false)$", re.IGNORECASE), list("tTfF"))


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
        raise ValueError(f"{path} names another recipe, {recipe['config']!r}; copy its lines instead")
    refuse_from_file(recipe, repeated, path, command)
    return flag_words(recipe, path)


def recipe_names() -> list[str]:
    """The names of the shipped recipes."""
    return [path.relative_to(RECIPES).with_suffix("").as_posix() for path in sorted(RECIPES.rglob("*.yaml"))]


def read_mapping(path: Path) -> dict[str, Any]:
    """
    Read a YAML file that maps names to values.

    Args:
        path: The file.

    Returns:
        What stands in it.

    Raises:
        ValueError: It cannot be read, is no YAML, has a key twice, or is no mapping.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); name a YAML file") from error
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        hint = "; indent with spaces, not with tabs" if "'\\t'" in str(error.problem) else ""
        raise ValueError(f"{path}{line}: broken YAML, {error.problem}{hint}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no text of YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must map flags to values, one `key: value` a line, got {content!r}")
    return {str(key): value for key, value in content.items()}


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
        ValueError: A variable that a value names is not set, a key is no flag, or a value would be read as a flag.

    Example:
        >>> flag_words({"rho": 0.05, "fp16": True, "seed": None}, Path("some.yaml"))
        ['--rho', '0.05', '--fp16', 'true']
    """
    words = []
    for key, value in flags.items():
        if not _FLAG.fullmatch(key):
            raise ValueError(
                f"{path}: {_shown(key)} is no flag; a flag is letters, digits and _, and its value stands apart"
            )
        if value is not None:
            words += [f"--{key}", *(_value(expand_variables(word, path), key, path) for word in _words(value))]
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


def _value(word: str, key: str, path: Path) -> str:
    """A word that stands for a value, and that no parser takes for another flag."""
    if word.startswith("-") and word != "-" and not _NUMBER.fullmatch(word):
        raise ValueError(f"{path}: {key}: {_shown(word)} begins with - and would be read as a flag; write it as a key")
    return word


def _shown(word: str) -> str:
    """A word as a message has it, without what may be a secret behind an equals sign."""
    return reprlib.repr(word.partition("=")[0])


def _words(value: Any) -> list[str]:
    if isinstance(value, list):
        return [word for item in value for word in _words(item)]
    if isinstance(value, (bool, dict)):
        return [json.dumps(value)]
    return [str(value)]
