"""Where runs took place, fact by fact."""

from collections import Counter
from collections.abc import Sequence

from hf_vasso.results.record import Record

__all__ = ["environment_facts"]


def environment_facts(records: Sequence[Record]) -> dict[str, Counter[str]]:
    """
    Where runs took place.

    Args:
        records: The runs.

    Returns:
        Fact (the device, the threads, the commit, and each package) to its values, each with the number of runs that
        have it.
    """
    environments = [_facts(record) for record in records]
    names = dict.fromkeys(name for facts in environments for name in facts)
    return {name: Counter(facts.get(name, "unknown") for facts in environments) for name in names}


def _facts(record: Record) -> dict[str, str]:
    environment = record.environment
    return {
        "device": environment["device"],
        "threads": str(environment.get("threads", "unknown")),
        "commit": environment["commit"] or "unknown",
        **environment["packages"],
    }
