"""The accelerate loop ends where the Trainer ends."""

import importlib.util
from pathlib import Path

import pytest
from safetensors.torch import load_file

from hf_vasso.cli import main
from hf_vasso.tasks.errors import UserError

SCRIPT = Path(__file__).parents[3] / "glue_scripts" / "run_glue_no_trainer.py"


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
        assert "accuracy" in scores[name]
    assert largest_difference(weights["loop", "vasso"], weights["loop", "none"]) > 1e-3


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (
            "--max_steps 3",
            "this loop trains whole epochs: give --num_train_epochs as a whole number, and no --max_steps",
        ),
        ("--dry_run", "this loop has no --dry_run: leave it out, or use `hf-vasso glue`"),
        ("--method vasoo", "unknown method 'vasoo', did you mean 'vasso'?"),
    ],
)
def test_what_the_loop_does_not_do_is_refused(loop, tiny_bert, words, fault):
    with pytest.raises(UserError) as refusal:
        loop(f"--task_name agreement --model_name_or_path {tiny_bert} {words}".split())
    assert fault in str(refusal.value)


def test_a_run_of_the_command_is_not_overwritten(loop, tiny_bert, tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UserError, match="holds a run of `hf-vasso glue`; choose another --output_dir"):
        loop(f"--task_name agreement --model_name_or_path {tiny_bert} --output_dir {tmp_path}".split())


def largest_difference(left, right):
    return max((left[name] - right[name]).abs().max().item() for name in left)
