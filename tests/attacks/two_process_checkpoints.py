"""
Trainings of two processes from damaged checkpoints; run by `test_checkpoints.py` as

    torchrun --standalone --nproc_per_node 2 two_process_checkpoints.py FOLDER ATTEMPTS

Each rank writes what came out of each attempt to FOLDER/rank-<n>.json.
"""

import gc
import itertools
import json
import os
import random
import sys
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist
from damaged_checkpoints import DAMAGES, build, copy_of, weights

# Both kinds of files that each rank has of its own, and one that all share.
FILES = ("rng_state_0.pth", "rng_state_1.pth", "sharpness.pt", "sharpness_1.pt", "model.safetensors")
CASES = list(itertools.product(FILES, DAMAGES))
ARGUMENTS = {"per_device_train_batch_size": 4, "ascent_sync": False}


def attempt(straight: Path, end: list[float], run: Path, number: int) -> str:
    """Damage the last checkpoint and go on, as every rank of a training does."""
    name, damage = CASES[number % len(CASES)]
    checkpoint = run / "checkpoint-3"
    if dist.get_rank() == 0:
        copy_of(straight, run, (1, 2, 3))
        damage(checkpoint / name, random.Random(number), run / "checkpoint-1" / name)
    dist.barrier()
    try:
        build(run, save_strategy="no", **ARGUMENTS).train(resume_from_checkpoint=str(checkpoint))
    except ValueError as error:
        refused = f"checkpoint-3 is no whole checkpoint: {name}" in str(error)
    else:
        refused = False
    trainer = build(run, save_strategy="no", **ARGUMENTS)
    trainer.train(resume_from_checkpoint=True)
    resumed = [entry["step"] for entry in trainer.state.log_history if "loss" in entry] == [1, 2, 3, 4]
    return "survived" if refused and resumed and weights(trainer) == end else "wrong"


def main(folder: Path, attempts: int) -> None:
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))  # who waits for the other in vain fails
    gc.freeze()
    trainer = build(folder / "straight", **ARGUMENTS)
    trainer.train()
    end = weights(trainer)
    numbers = random.Random(0).sample(range(max(attempts, len(CASES))), attempts)
    outcomes = [attempt(folder / "straight", end, folder / f"attempt-{number}", number) for number in numbers]
    manifest = json.loads((folder / "straight" / "checkpoint-2" / "manifest.json").read_text())
    found = {"outcomes": outcomes, "ranks": manifest["ranks"], "files": sorted(manifest["files"]), "end": end}
    (folder / f"rank-{dist.get_rank()}.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # threads of gloo may abort a process that leaves in the ordinary way


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
