"""Runs that no one has trained: records whose numbers a fixed generator draws, for tests of what is made of them."""

import random
from dataclasses import replace
from pathlib import Path

from hf_vasso.results.failure import Failure, write_failure
from hf_vasso.results.record import Record, write_record
from hf_vasso.results.suite_plan import PlannedRun, SuitePlan, write_suite_plan

PAPERS = {
    "none": None,
    "sam": {
        "title": "Sharpness-Aware Minimization",
        "url": "https://arxiv.org/abs/2010.01412",
        "bibtex": "@a{}",
    },
    "vasso": {"title": "Variance-suppressed SAM", "url": "https://arxiv.org/abs/2509.02433", "bibtex": "@a{}"},
}
# Label: (method, numbers, epochs, gain in accuracy over the base).
METHODS = {
    "none": ("none", {}, 10, 0.0),
    "none-2x": ("none", {}, 20, 0.001),
    "sam": ("sam", {"rho": 0.225}, 10, 0.012),
    "vasso": ("vasso", {"rho": 0.3, "theta": 0.4}, 10, 0.014),
}
TASKS = {"sst2-clean": 0.775, "sst2-noise-30": 0.656}
MODEL = "all-MiniLM-L6-v2"
SEEDS = range(10)
STEPS_PER_EPOCH = 31
LOGGED_STEPS = 62


def record(task: str, label: str, seed: int) -> Record:
    """One run; equal words give equal numbers."""
    draw = random.Random(f"{task} {label} {seed}")
    of_the_seed = random.Random(f"{task} {seed}").gauss(0, 0.01)  # what all methods share, so that pairing pays
    method, numbers, epochs, gain = METHODS[label]
    steps = epochs * STEPS_PER_EPOCH
    passes = steps * (1 if method == "none" else 2)
    accuracy = round((TASKS[task] + gain + of_the_seed + draw.gauss(0, 0.004)) * 872) / 872
    return Record(
        task="sst2",
        task_label=task,
        model=MODEL,
        label=label,
        method={"name": method, "numbers": numbers, "paper": PAPERS[method]},
        seed=seed,
        metrics={
            "accuracy": accuracy,
            "loss": 1.2 - accuracy + draw.gauss(0, 0.01),
            "expected_calibration_error": 0.06 - gain + draw.gauss(0, 0.004),
        },
        directions={"accuracy": "higher", "loss": "lower", "expected_calibration_error": "lower"},
        eval_examples=872,
        train_examples=1000,
        data={"source": "local files", "fingerprint": f"{task}-fingerprint"},
        cost={
            "train_seconds": passes * 0.0101,
            "seconds_per_step": 0.0101 * passes / steps,
            "forward_passes": passes,
            "backward_passes": passes,
            "steps": steps,
            "peak_memory_bytes": (400 + 3 * len(numbers)) * 2**20,
        },
        arguments={"optim": "adamw_torch", "learning_rate": 1e-3, "num_train_epochs": epochs, "seed": seed, **numbers},
        environment={
            "device": "cpu",
            "threads": 1,
            "packages": {"python": "3.11.2", "hf_vasso": "0.1.0", "torch": "2.13.0"},
            "commit": "0123456789abcdef0123456789abcdef01234567",
        },
        collapsed=False,
        majority={"accuracy": 444 / 872},
        history=history(draw, steps, gain, is_flat=method == "none"),
    )


def history(draw: random.Random, steps: int, gain: float, is_flat: bool) -> dict[str, list[float | None]]:
    """A loss that falls and, for a method, a gap that rises."""
    at = list(range(LOGGED_STEPS, steps + 1, LOGGED_STEPS))
    columns: dict[str, list[float | None]] = {
        "step": [float(step) for step in at],
        "loss": [0.69 * 0.995 ** (step * (1 - 20 * gain)) + draw.gauss(0, 0.01) for step in at],
    }
    if not is_flat:
        columns["sharpness/gap"] = [0.05 + 0.0003 * step * gain * 80 + draw.gauss(0, 0.005) for step in at]
    return columns


def folder_of(task: str, label: str, seed: int) -> Path:
    return Path(task, MODEL, label, f"seed-{seed}")


def write_suite(runs_dir: Path) -> None:
    """A suite of two tasks and four methods: one run failed, one is missing, and one file is none of its records."""
    planned = []
    for task in TASKS:
        for label in METHODS:
            for seed in SEEDS:
                folder = folder_of(task, label, seed)
                planned.append(PlannedRun(task, MODEL, label, seed, folder.as_posix()))
                write_record(record(task, label, seed), runs_dir / folder)
    (runs_dir / folder_of("sst2-clean", "none-2x", 7) / "result.json").unlink()
    failed = runs_dir / folder_of("sst2-noise-30", "none-2x", 6)
    (failed / "result.json").unlink()
    write_failure(Failure("sst2-noise-30", MODEL, "none-2x", 6, "killed by signal 9; out of memory?"), failed)
    (runs_dir / "old" / "result.json").parent.mkdir()
    (runs_dir / "old" / "result.json").write_text('{"schema": 1}\n')
    how = {"trials": 5, "metric": "accuracy", "holdout_samples": 1000, "seeds": [100], "notes": []}
    at_end = {"notes": ["rho 0.3 is the largest value tried; better ones may lie beyond"]}
    lead = {"none": (0.78, 0.75), "none-2x": (0.78, 0.77), "sam": (0.79, 0.76), "vasso": (0.80, 0.78)}
    write_suite_plan(
        SuitePlan(
            name="probe",
            contrasts=[["vasso", "sam"], ["vasso", "none"], ["sam", "none"], ["vasso", "none-2x"]],
            runs=planned,
            selection={
                task: {
                    label: {
                        "chosen": {"learning_rate": 1e-3, **numbers},
                        **how,
                        **(at_end if label == "vasso" else {}),
                        "score": lead[label][0],
                        "runner_up_score": lead[label][1],
                    }
                    for label, (_, numbers, _, _) in METHODS.items()
                }
                for task in TASKS
            },
        ),
        runs_dir,
    )


def write_hostile(runs_dir: Path) -> None:
    """Three methods whose names attack the page and the paths, with scores that are no numbers."""
    attack = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
    for seed in range(3):
        for number, label in enumerate(
            (
                f"../../{attack}",
                f"$\\frac{{x}}$ {'very long ' * 15}]]>&amp;-->",
                "![x](https://evil.example) [c](javascript:alert`1`) ~~s~~ | # | [r]: https://evil.example",
            )
        ):
            hostile = record("sst2-clean", "vasso", seed)
            metrics = {**hostile.metrics, "accuracy": float("nan") if seed == 2 else hostile.metrics["accuracy"]}
            write_record(
                replace(
                    hostile,
                    task_label=f"../../../tmp/{attack}",
                    model="</style></svg>`|*_\\input{x}",
                    label=label,
                    metrics=metrics,
                    environment={**hostile.environment, "device": attack},
                ),
                runs_dir / str(number) / str(seed),
            )
