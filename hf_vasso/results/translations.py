"""The translations of a test part beside their references: text files that a run leaves and a report reads."""

import os
from pathlib import Path

from hf_vasso.results.reading import RecordError, check_inside, read_text

__all__ = ["REFERENCES_FILE", "TRANSLATIONS_FILE", "read_translations"]

TRANSLATIONS_FILE = "generated_predictions.txt"
REFERENCES_FILE = "references.txt"


def read_translations(folder: Path, runs_dir: Path) -> tuple[list[str], list[str]]:
    """
    Read what a run has translated.

    Args:
        folder: The run's folder.
        runs_dir: The folder that was searched for runs. Links that lead out of it are not followed.

    Returns:
        (sentences,) each: the translations and the references.

    Raises:
        RecordError: A file is missing, too large, a link that leads out or no text, or one has more lines than the
            other.
    """
    translations, references = (_lines(folder / name, runs_dir) for name in (TRANSLATIONS_FILE, REFERENCES_FILE))
    if len(translations) != len(references):
        raise RecordError(
            folder,
            f"{TRANSLATIONS_FILE} has {len(translations)} lines and {REFERENCES_FILE} {len(references)}; translate "
            "again with --do_predict",
        )
    return translations, references


def _lines(path: Path, runs_dir: Path) -> list[str]:
    if not os.path.lexists(path):
        raise RecordError(path, f"{path.name} is missing; translate again with --do_predict")
    try:
        check_inside(path, runs_dir)
        text = read_text(path)
    except RecordError as error:
        raise RecordError(path, f"{path.name}: {error.reason}") from error
    except UnicodeDecodeError as error:
        raise RecordError(path, f"{path.name} is no text ({error}); translate again with --do_predict") from error
    return text.removesuffix("\n").split("\n")
