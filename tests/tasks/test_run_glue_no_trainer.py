"""The accelerate loop ends where the Trainer ends."""

import importlib.util
from pathlib import Path

import pytest
from safetensors.torch import load_file

from hf_vasso.cli import main

SCRIPT = Path(__file__).parents[2] / "glue_scripts" / "run_glue_no_trainer.py"


@pytest.fixture(scope="module")
def loop():
    spec = importlib.util.spec_from_file_location("run_glue_no_trainer", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script.main


def test_the_loop_ends_at_the_trainers_weights(loop, tiny_bert, data_dir, tmp_path):
    flags = (  # 24 examples in micro-batches of 5, two to a step: the last step of an epoch has one of 4
        f"--task_name agreement --model_name_or_path {tiny_bert} --data_dir {data_dir} --num_train_epochs 2 "
        "--per_device_train_batch_size 5 --gradient_accumulation_steps 2 --learning_rate 1e-2 --weight_decay 0.1 "
        "--warmup_steps 1 --max_grad_norm 0 --use_cpu --report_to none --seed 3"
    ).split()
    weights, scores = {}, {}
    for name, method in {"vasso": ["--rho", "0.2"], "none": ["--method", "none"]}.items():
        main(["glue", *flags, *method, "--output_dir", str(tmp_path / f"trainer-{name}")])
        scores[name] = loop([*flags, *method, "--output_dir", str(tmp_path / f"loop-{name}")])
        for kind in ("trainer", "loop"):
            weights[kind, name] = load_file(tmp_path / f"{kind}-{name}" / "model.safetensors")
    for name in ("vasso", "none"):
        assert largest_difference(weights["trainer", name], weights["loop", name]) == 0.0
        assert scores[name].keys() == {"accuracy"}
    assert largest_difference(weights["loop", "vasso"], weights["loop", "none"]) > 1e-3


def largest_difference(left, right):
    return max((left[name] - right[name]).abs().max().item() for name in left)
