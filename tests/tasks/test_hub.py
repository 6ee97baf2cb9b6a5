"""Data and models from a hub that has become slow: what was downloaded before is used."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import datasets

SLOW_HUB = Path(__file__).with_name("slow_hub.py")
CARD = "---\nconfigs:\n- config_name: rte\n  data_files:\n" + "".join(
    f"  - split: {split}\n    path: rte/{split}-*\n" for split in ("train", "validation", "test")
)


def write_parquet(path: Path, columns: dict[str, list]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict(columns).to_parquet(path)


def test_a_slow_hub(tmp_path, tiny_bert):
    repositories = tmp_path / "repositories"
    glue = repositories / "datasets" / "nyu-mll" / "glue"
    corpus = repositories / "datasets" / "bbaaaa" / "iwslt14-de-en" / "de-en"
    for count, split in enumerate(("train", "validation", "test"), start=2):
        numbers = list(range(count))
        texts = {name: [f"{name} {number}" for number in numbers] for name in ("sentence1", "sentence2")}
        write_parquet(glue / "rte" / f"{split}-0.parquet", {**texts, "label": [0] * count, "idx": numbers})
        pairs = [{"de": f"eins {number}", "en": f"one {number}"} for number in numbers]
        write_parquet(corpus / split / "0000.parquet", {"translation": pairs})
    (glue / "README.md").write_text(f"{CARD}---\n")
    shutil.copytree(tiny_bert, repositories / "models" / "owner" / "bert")
    done = subprocess.run(
        [sys.executable, str(SLOW_HUB), str(tmp_path)],
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name not in ("HF_HUB_OFFLINE", "HF_HOME")},
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    fast, slow = map(json.loads, done.stdout.splitlines())
    for name in ("task", "corpus", "tokenizer", "model"):
        assert slow[name] == fast[name] and "Error" not in str(fast[name]), (name, fast[name], slow[name])
    assert set(fast["task"]) == {"train", "validation", "test"} and set(fast["corpus"]) == {"train", "test"}
    for name in ("nyu-mll/glue", "bbaaaa/iwslt14-de-en", "owner/bert"):
        assert re.search(rf"{name} cannot be loaded from the hub \(.*\); the cached copy is used", done.stderr)
    assert slow["other task"].startswith(
        "DataError: task cola has no data: nyu-mll/glue cannot be loaded from the hub"
    )
    assert "; from the cache: ValueError: Couldn't find cache for nyu-mll/glue for config 'cola'" in slow["other task"]
    assert slow["seconds"] < 60  # nothing waits for an answer
