"""The name of a trial's folder: readable, and another one for other values."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from hf_vasso.tasks.labels import MOST_BYTES

__all__ = ["trial_name"]

_MOST_LETTERS = 40  # of the readable part of a value
_HASH_DIGITS = 10


def trial_name(values: Mapping[str, Any]) -> str:
    """
    Name the folder of a trial by its values.

    A value whose letters are all plain stands there as it is. Another one, which would be changed, cut or told apart
    by upper and lower case alone, gets a hash of its exact content after `~`, a letter that no plain value has.

    Args:
        values: Flag to value.

    Returns:
        ASCII letters, at most 255.

    Example:
        >>> trial_name({"rho": 0.1, "optim": "sgd", "seed": 7})
        'rho=0.1,optim=sgd,seed=7'
        >>> trial_name({"no_perturb": "a|b"}), trial_name({"no_perturb": "a*b"})
        ('no_perturb=a_b~68e4cd1513', 'no_perturb=a_b~a2ea7ca50a')
    """
    name = ",".join(f"{_plain(flag)}={_value_name(value)}" for flag, value in values.items())
    return name if len(name) <= MOST_BYTES else f"{name[: MOST_BYTES - _HASH_DIGITS - 1]}~{_hash(dict(values))}"


def _value_name(value: Any) -> str:
    text = str(value)
    if value is None or isinstance(value, bool | int | float) or re.fullmatch(r"[a-z0-9_.+-]+", text):
        return text
    return f"{_plain(text)[:_MOST_LETTERS]}~{_hash(value)}"


def _plain(text: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_.+-]", "_", text)


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:_HASH_DIGITS]
