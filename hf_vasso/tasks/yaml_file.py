"""
Read a YAML file that anyone may have written: what it may cost is bounded, and nothing in it is lost without a word.

The YAML that is read is text, numbers, true, false and null in lists and mappings, with anchors, aliases and merge
keys. A word that YAML 1.1 takes for something else, such as `no`, `1:30` or a date, stays the word that its author
wrote.
"""

import re
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from hf_vasso.spelling import is_text, one_line, shown

__all__ = ["read_mapping"]

_MOST_BYTES = 2**18
_MOST_NODES = 10_000  # keys and values, those that aliases repeat counted each time
_MOST_LEVELS = 20
_MOST_DIGITS = 300

_TAG = "tag:yaml.org,2002:"
_STR, _MERGE = f"{_TAG}str", f"{_TAG}merge"


class _Loader(yaml.SafeLoader):
    """
    Bounds and checks each node when it is composed, before any value is built from it.

    PyYAML builds a tree of nodes in which an alias is the very node of its anchor, so a few lines may stand for
    billions of values. The size of each node is kept, and an alias counts as much as what it repeats.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._levels = 0
        self._count = 0
        self._sizes: dict[yaml.Node, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:  # pyright: ignore
        mark = self.peek_event().start_mark
        is_alias = self.check_event(yaml.AliasEvent)
        before = self._count
        self._count += 1
        self._levels += 1
        if self._levels > _MOST_LEVELS:
            raise ConstructorError(None, None, f"more than {_MOST_LEVELS} levels of lists and mappings", mark)
        node = super().compose_node(parent, index)
        assert node is not None
        if is_alias and node not in self._sizes:
            raise ConstructorError(None, None, "an alias stands in what it repeats", mark)
        self._levels -= 1
        self._count += self._sizes[node] if is_alias else 0
        if self._count > _MOST_NODES:
            raise ConstructorError(
                None, None, f"more than {_MOST_NODES:,} keys and values, those that aliases repeat counted too", mark
            )
        self._sizes.setdefault(node, self._count - before)
        return node

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        node = super().compose_scalar_node(anchor)
        if not is_text(node.value):
            raise ConstructorError(None, None, "half a surrogate pair is no character", node.start_mark)
        if node.tag not in (_STR, _MERGE):
            try:
                if len(node.value) > _MOST_DIGITS:
                    raise ValueError
                self.construct_object(node)
            except (ArithmeticError, LookupError, ValueError):
                kind = node.tag.removeprefix(_TAG)
                raise ConstructorError(None, None, f"{shown(node.value)} is no {kind}", node.start_mark) from None
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag not in (_STR, _MERGE) or not isinstance(key, yaml.ScalarNode):
                words = f"a key must be text, got {shown(key.value) if isinstance(key.value, str) else 'a list'}"
                raise ConstructorError(None, None, f"{words}; put it in quotes", key.start_mark)
            if key.value in seen:
                raise ConstructorError(None, None, f"the key {shown(key.value)} stands twice", key.start_mark)
            seen.add(key.value)
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """
        Put what `<<` merges before a mapping's own entries, which overrule it; of several the first overrules.

        PyYAML's own goes by the identity of the keys' texts, so that an entry that was overruled may come back.
        """
        merged: dict[str, Any] = {}
        own = {key.value: (key, value) for key, value in node.value if key.tag != _MERGE}
        for key, value in node.value:
            if key.tag == _MERGE:
                for mapping in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    if not isinstance(mapping, yaml.MappingNode):
                        raise ConstructorError(None, None, "<< needs a mapping, or a list of them", key.start_mark)
                    self.flatten_mapping(mapping)
                    merged = {entry[0].value: entry for entry in mapping.value} | merged
        node.value = list({**merged, **own}.values())


_KNOWN = [f"{_TAG}{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map")]
_Loader.yaml_constructors = {tag: yaml.SafeLoader.yaml_constructors[tag] for tag in (*_KNOWN, None)}
_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag in (f"{_TAG}null", _MERGE)]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
# Those of YAML 1.1 without `yes` and `on`, and without numbers to the base of 60 (1:30) and 8 (010).
_WORDS = {
    "bool": (r"[Tt]rue|TRUE|[Ff]alse|FALSE", "tTfF"),
    "int": (r"[-+]?(?:0|[1-9][0-9_]*|0b[01_]+|0x[0-9a-fA-F_]+)", "-+0123456789"),
    "float": (
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+][0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
}
for _name, (_pattern, _letters) in _WORDS.items():
    _Loader.add_implicit_resolver(f"{_TAG}{_name}", re.compile(f"^(?:{_pattern})$"), list(_letters))


def read_mapping(path: Path) -> dict[str, Any]:
    """
    Read a YAML file that maps names to values.

    Args:
        path: The file.

    Returns:
        What stands in it; the keys of all mappings are text.

    Raises:
        ValueError: It cannot be read, is too large, too deep or no YAML, has a key twice, or is no mapping.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ValueError(f"{path} is larger than {_MOST_BYTES // 2**10} KiB, the most that is read; shorten it")
        mapping = _load(path, content.decode())
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); name a YAML file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no text of YAML: {one_line(str(error))}") from error
    if not isinstance(mapping, dict):
        raise ValueError(f"{path} must map flags to values, one `key: value` a line, got {shown(mapping)}")
    return mapping


def _load(path: Path, text: str) -> Any:
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        hint = "; indent with spaces, not with tabs" if "'\\t'" in str(error.problem) else ""
        raise ValueError(f"{path}{line}: broken YAML, {one_line(str(error.problem))}{hint}") from error
    except (ArithmeticError, ValueError) as error:  # of an escape or a directive with a number out of its range
        raise ValueError(f"{path}, line {loader.line + 1}: broken YAML, {one_line(str(error))}") from error
