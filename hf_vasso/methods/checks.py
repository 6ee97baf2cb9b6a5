"""Refuse numbers outside their range: fact, range and value."""

import math

__all__ = ["check_range", "check_whole"]


def check_range(
    fact: str, value: float, *, minimum: float, maximum: float = math.inf, exclude_minimum: bool = False
) -> None:
    """
    Refuse a number outside its range.

    Args:
        fact: The number's name and what it does, such as "theta weighs the new gradient".
        value: The number.
        minimum: The smallest value allowed, or the bound itself when `exclude_minimum`.
        maximum: The largest value allowed.
        exclude_minimum: Whether the value must be larger than `minimum`.

    Raises:
        ValueError: With the fact, the range and the value.
    """
    if isinstance(value, (int, float)) and math.isfinite(value) and value <= maximum:
        if value > minimum or (value == minimum and not exclude_minimum):
            return
    if minimum == -math.inf:
        range_text = "finite"
    elif maximum == math.inf:
        range_text = f"{'above' if exclude_minimum else 'at least'} {minimum:g} and finite"
    else:
        range_text = f"in {'(' if exclude_minimum else '['}{minimum:g}, {maximum:g}]"
    raise ValueError(f"{fact} and must be {range_text}, got {value!r}")


def check_whole(fact: str, value: int, *, minimum: int) -> None:
    """
    Refuse what is no whole number of at least `minimum`.

    Args:
        fact: The number's name and what it does, such as "k is the number of steps from one ascent to the next".
        value: The number.
        minimum: The smallest value allowed.

    Raises:
        ValueError: With the fact, the range and the value.
    """
    if type(value) is not int or value < minimum:
        raise ValueError(f"{fact} and must be a whole number, at least {minimum}, got {value!r}")
