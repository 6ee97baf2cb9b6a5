"""Shadow what an object has, for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["instance_attributes"]


@contextmanager
def instance_attributes(target: object, **values: Any) -> Iterator[None]:
    """Set instance attributes for a while; one that was not there before is not there after."""
    before = {name: vars(target)[name] for name in values if name in vars(target)}
    vars(target).update(values)
    try:
        yield
    finally:
        for name in values:
            vars(target).pop(name, None)
        vars(target).update(before)
