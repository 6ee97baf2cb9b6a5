"""
The synthetic task `agreement`: is a sentence acceptable, that is, does its verb agree with its subject?

    the keys near the old cabinet are rusty      acceptable: the subject is "keys"
    the keys near the old cabinet is rusty       unacceptable, though the nearest noun, "cabinet", is singular

Between subject and verb stand distractors, nouns of either number, so that a model must find the subject. Subjects are
more often singular than plural, as in English. The verb alone therefore tells the label in 70 % of the sentences, and
a model that does better has found out about agreement. The sentences come from a small grammar and a seed.
"""

import json
import random
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from hf_vasso.results.files import write_text

__all__ = ["VOCABULARY", "agreement_examples", "write_agreement"]

_SINGULAR_NOUNS = (
    "author boat cabinet dancer doctor engine farmer garden house island judge key lamp letter machine manager mirror "
    "painter picture pilot report river senator sister student table teacher tower village window"
).split()
_NOUNS = {"singular": _SINGULAR_NOUNS, "plural": [noun + "s" for noun in _SINGULAR_NOUNS]}
_VERBS = {
    "singular": "is was stays seems looks becomes remains appears".split(),
    "plural": "are were stay seem look become remain appear".split(),
}
_ADJECTIVES = "bright calm clean dark famous green large loud narrow new old quiet red rusty small tall".split()
_PREPOSITIONS = "above behind below beside near with".split()
_OTHER_NUMBER = {"singular": "plural", "plural": "singular"}
_DISTRACTORS = 2  # at most
_SINGULAR_SUBJECTS = 0.7  # with equal shares, subject and verb are an exclusive or, which a small model hardly learns

VOCABULARY: tuple[str, ...] = tuple(
    sorted({"the", *_PREPOSITIONS, *_ADJECTIVES, *chain(*_NOUNS.values(), *_VERBS.values())})
)
"""Every word that a sentence of the task can have."""


def agreement_examples(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """
    Draw examples of the task.

    Args:
        count: How many.
        seed: Equal seeds give equal examples.

    Yields:
        "sentence", "label" (1 is acceptable) and "idx".

    Example:
        >>> next(agreement_examples(1, seed=0))
        {'sentence': 'the narrow mirrors beside the keys seem famous', 'label': 1, 'idx': 0}
    """
    generator = random.Random(seed)
    for idx in range(count):
        label = generator.randrange(2)
        yield {"sentence": _sentence(generator, agrees=label == 1), "label": label, "idx": idx}


def write_agreement(data_dir: Path, *, train_examples: int, validation_examples: int, seed: int = 0) -> None:
    """
    Write the task as files for `--data_dir`.

    Args:
        data_dir: The files are `<data_dir>/agreement/{train,validation}.jsonl`.
        train_examples: Size of the training split.
        validation_examples: Size of the validation split.
        seed: Equal seeds give equal files; the two splits are drawn apart.
    """
    splits = {
        "train": agreement_examples(train_examples, 2 * seed),
        "validation": agreement_examples(validation_examples, 2 * seed + 1),
    }
    for split, examples in splits.items():
        lines = "".join(json.dumps(example) + "\n" for example in examples)
        write_text(data_dir / "agreement" / f"{split}.jsonl", lines)


def _sentence(generator: random.Random, agrees: bool) -> str:
    subject = "singular" if generator.random() < _SINGULAR_SUBJECTS else "plural"
    verb = subject if agrees else _OTHER_NUMBER[subject]
    words = _noun_phrase(generator, subject)
    for _ in range(generator.randint(0, _DISTRACTORS)):
        words += [generator.choice(_PREPOSITIONS), *_noun_phrase(generator, generator.choice(list(_OTHER_NUMBER)))]
    return " ".join([*words, generator.choice(_VERBS[verb]), generator.choice(_ADJECTIVES)])


def _noun_phrase(generator: random.Random, number: str) -> list[str]:
    adjective = [generator.choice(_ADJECTIVES)] if generator.random() < 0.5 else []
    return ["the", *adjective, generator.choice(_NOUNS[number])]
