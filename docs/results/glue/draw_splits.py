"""
Draw the held-out fifths on which protocol-2.md chooses its numbers.

    python docs/results/glue/draw_splits.py $HF_VASSO_DATA/glue splits

For each task and draw it writes `<out>/<draw>/<task>/{train,validation}.jsonl`: four fifths and one fifth of the
part of the training split that the task is trained on.
"""

import sys
from pathlib import Path

import pandas as pd

EXAMPLES = {"rte": 2490, "mrpc": 3668, "wnli": 635, "stsb": 2500, "sst2": 2500, "cola": 4000}
DRAWS = (1000, 1001)


def main(data: Path, out: Path) -> None:
    for task, examples in EXAMPLES.items():
        table = pd.read_json(data / task / "train.jsonl.gz", lines=True).head(examples).drop(columns="idx")
        for draw in DRAWS:
            held_out = table.sample(n=examples // 5, random_state=draw)
            folder = out / str(draw) / task
            folder.mkdir(parents=True, exist_ok=True)
            for name, part in (("train", table.drop(held_out.index)), ("validation", held_out)):
                part.to_json(folder / f"{name}.jsonl", orient="records", lines=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
