"""Which method labels belong together, which is the base, and which are compared where nobody has named contrasts."""

from collections.abc import Mapping

__all__ = ["BASE", "default_contrasts", "labels_of_family"]

BASE = "none"
"""The method of the runs that the others are compared with, and the label that these have by default."""


def labels_of_family(family: str, methods: Mapping[str, str]) -> list[str]:
    """
    The labels of a method and its variants.

    Args:
        family: A method's name, such as "vasso", which has the variant "vasso-re".
        methods: Label to method name.

    Returns:
        The labels, in their order.
    """
    return [label for label, name in methods.items() if name == family or name.startswith(f"{family}-")]


def default_contrasts(methods: Mapping[str, str]) -> list[tuple[str, str]]:
    """
    What is compared where nobody has named contrasts.

    Args:
        methods: Label to method name.

    Returns:
        Pairs of labels, the first minus the second, the primary one first: each VASSO against each SAM and then
        against each base; without a VASSO each method against each base.

    Example:
        >>> default_contrasts({"none": "none", "sam": "sam", "vasso": "vasso"})
        [('vasso', 'sam'), ('vasso', 'none')]
    """
    vasso, bases = labels_of_family("vasso", methods), labels_of_family(BASE, methods)
    if not vasso:
        return [(label, base) for label in methods if label not in bases for base in bases]
    return [
        (first, second)
        for seconds in (labels_of_family("sam", methods), bases)
        for first in vasso
        for second in seconds
    ]
