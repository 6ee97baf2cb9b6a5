"""`VassoTrainingArguments`: how they are parsed, what they refuse, and that each has the effect that it promises."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from observed_training import PassTrainer
from tiny_training import LOGGED, PERTURBED, bert, distance, numbers, run, sentences
from transformers import HfArgumentParser, Trainer, TrainingArguments

from hf_vasso import (
    METHODS,
    Method,
    VassoSeq2SeqTrainingArguments,
    VassoTrainingArguments,
    get_method,
)
from hf_vasso.methods.vasso import MovingAverage

CLASSES = [VassoTrainingArguments, VassoSeq2SeqTrainingArguments]


def parse(arguments_class, *words):
    (arguments,) = HfArgumentParser(arguments_class).parse_args_into_dataclasses(["--output_dir", "out", *words])
    return arguments


class TestParsing:
    @pytest.mark.parametrize("arguments_class", CLASSES)
    def test_defaults(self, arguments_class):
        arguments = parse(arguments_class)
        assert arguments.method == "vasso"
        assert arguments.same_dropout is True
        assert arguments.rho is arguments.theta is arguments.no_perturb is arguments.method_args is None
        assert arguments.build_method() == get_method("vasso")

    @pytest.mark.parametrize("arguments_class", CLASSES)
    def test_flags(self, arguments_class):
        words = "--method vasso-asam --rho 0.1 --theta 0.2 --no_same_dropout --no_perturb LayerNorm"
        schedule = "--rho_warmup_steps 0.1 --rho_scheduler_type cosine"
        arguments = parse(arguments_class, *words.split(), *schedule.split(), "--method_args", '{"eta": 0.02}')
        assert arguments.build_method() == get_method("vasso-asam", rho=0.1, theta=0.2, eta=0.02)
        assert arguments.same_dropout is False
        assert arguments.no_perturb == "LayerNorm"
        assert arguments.rho_warmup_steps == 0.1
        assert arguments.rho_scheduler_type == "cosine"

    @pytest.mark.parametrize("method", METHODS)
    def test_every_method_is_a_choice(self, method):
        assert parse(VassoTrainingArguments, "--method", method).build_method() == get_method(method)

    def test_asam(self):
        arguments = parse(VassoTrainingArguments, "--method", "asam", "--method_args", '{"eta": 0.02}')
        assert arguments.build_method() == get_method("asam", eta=0.02)

    def test_output_dir_is_still_the_first(self):
        assert VassoTrainingArguments("somewhere", report_to="none").output_dir == "somewhere"

    @pytest.mark.parametrize("arguments_class", CLASSES)
    def test_go_through_json(self, arguments_class, tmp_path):
        """As `--config` files and saved arguments do."""
        arguments = parse(arguments_class, "--method", "asam", "--rho", "0.1", "--method_args", '{"eta": 0.02}')
        path = tmp_path / "arguments.json"
        path.write_text(arguments.to_json_string())
        kept = {"output_dir", "method", "rho", "theta", "same_dropout", "method_args"}
        values = {name: value for name, value in arguments.to_dict().items() if name in kept}
        (again,) = HfArgumentParser(arguments_class).parse_dict(values)
        assert again.build_method() == arguments.build_method()


class TestRefused:
    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({"method": "vaso"}, "vasso"),
            ({"method": "sam", "theta": 0.4}, "method 'sam' does not use theta, got theta=0.4: it uses rho"),
            ({"method": "none", "rho": 0.1}, "method 'none' does not use rho, got rho=0.1: it uses no numbers"),
            ({"theta": 1.5}, "theta weighs the new gradient and must be in (0, 1], got 1.5"),
            ({"theta": 0.0}, "theta weighs the new gradient and must be in (0, 1], got 0.0"),
            ({"rho": -0.1}, "rho is the radius of the perturbation and must be at least 0 and finite, got -0.1"),
            ({"rho": math.nan}, "rho is the radius of the perturbation and must be at least 0 and finite, got nan"),
            (
                {"rho_warmup_steps": -1},
                "rho_warmup_steps is a count of steps or a share of them and must be at least 0 and finite, got -1",
            ),
            ({"rho_scheduler_type": "cosin"}, "cosine"),
            ({"no_perturb": "("}, "no_perturb must be a regular expression, got '(': "),
            ({"method_args": "{eta: 1}"}, "method_args must be a JSON object, got '{eta: 1}': "),
            ({"method_args": "[1]"}, "method_args must be a JSON object such as '{\"eta\": 0.01}', got '[1]'"),
            (
                {"method_args": {"eta": 0.1}},
                "method 'vasso' does not use eta, got eta=0.1: it uses rho, theta",
            ),
            (
                {"rho": 0.1, "method_args": {"rho": 0.2}},
                "rho stands in the arguments and in method_args, got 0.1 and 0.2: give it once",
            ),
            (
                {"method": "none", "rho_warmup_steps": 0.1},
                "method 'none' perturbs nothing and does not use rho_warmup_steps, got 0.1: leave it out, or choose "
                "another method",
            ),
            ({"method": "none", "no_perturb": "bias"}, "method 'none' perturbs nothing and does not use no_perturb"),
            ({"rho_warmup_steps": 1.5}, "rho_warmup_steps must be a whole number of steps or a share of them below 1"),
        ],
    )
    def test_words(self, given, words):
        with pytest.raises(ValueError, match=re.escape(words)):
            VassoTrainingArguments("out", report_to="none", **given)

    def test_numbers_beside_a_method(self, build):
        words = "a Method carries its own numbers, got rho=0.1, theta=0.2 beside it: set them in the Method"
        with pytest.raises(ValueError, match=re.escape(words)):
            build(bert(), sentences(), trainer_options={"method": Method(rho=0.3)}, rho=0.1, theta=0.2)

    def test_unknown_name_in_the_trainer(self, build):
        with pytest.raises(ValueError, match="fsam"):
            build(bert(), sentences(), trainer_options={"method": "f-sam"})


class TestMethodOfTheTrainer:
    """What is passed to the trainer wins over the arguments."""

    def test_a_name(self, build):
        trainer = build(bert(), sentences(), method="vasso", rho=0.2, trainer_options={"method": "sam"})
        assert trainer.method == get_method("sam", rho=0.2)
        assert trainer.args.method == "sam"  # what integrations record

    def test_a_method(self, train):
        by_parts = Method(direction=MovingAverage(theta=0.4), rho=0.3)
        ours = train(bert(), sentences(), method="none", trainer_options={"method": by_parts})
        preset = train(bert(), sentences(), method="vasso", rho=0.3, theta=0.4)
        unperturbed = train(bert(), sentences(), method="none")
        assert distance(ours.weights, preset.weights) == 0.0
        assert distance(ours.weights, unperturbed.weights) > PERTURBED

    def test_plain_training_arguments(self, build):
        assert build(bert(), sentences(), arguments_class=TrainingArguments).method == get_method("vasso")
        options = {"arguments_class": TrainingArguments, "trainer_options": {"method": "asam"}}
        assert build(bert(), sentences(), **options).method == get_method("asam")

    def test_the_stock_trainer_takes_our_arguments(self, build):
        assert build(bert(), sentences(), trainer_class=Trainer, rho=0.2).args.rho == 0.2


def logged_norms(training):
    return [entry["sharpness/perturbation_norm"] for entry in training.logs]


class TestEffect:
    """On a ball the norm of the perturbation is rho, so the log shows how rho runs."""

    @pytest.mark.parametrize(
        ("schedule", "shares"),
        [
            ({}, [1] * 8),
            ({"rho_warmup_steps": 4}, [0, 1 / 4, 2 / 4, 3 / 4, 1, 1, 1, 1]),
            ({"rho_warmup_steps": 0.25}, [0, 1 / 2, 1, 1, 1, 1, 1, 1]),
            ({"rho_scheduler_type": "constant"}, [1] * 8),
            ({"rho_scheduler_type": "linear"}, [1 - step / 8 for step in range(8)]),
            ({"rho_scheduler_type": "cosine"}, [(1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)]),
            (
                {"rho_scheduler_type": "linear", "rho_warmup_steps": 4},
                [0, 1 / 4, 2 / 4, 3 / 4, *(1 - step / 4 for step in range(4))],
            ),
            (
                {"rho_scheduler_type": "learning_rate", "lr_scheduler_type": "linear", "warmup_steps": 2},
                [0, 1 / 2, *(1 - step / 6 for step in range(6))],
            ),
        ],
    )
    def test_schedules_of_rho(self, train, schedule, shares):
        training = train(bert(), sentences(), **numbers("vasso"), **schedule)
        assert logged_norms(training) == pytest.approx([0.3 * share for share in shares], rel=1e-9, abs=1e-12)

    def test_no_perturb(self, build):
        trainer = build(bert(), sentences(), **numbers("vasso"), no_perturb="embeddings", trainer_class=PassTrainer)
        trainer.train()
        clean, perturbed = trainer.seen[:2]
        left_alone = {name for name in clean if (clean[name] == perturbed[name]).all()}
        assert left_alone == {name for name in clean if "embeddings" in name}
        assert math.hypot(*((perturbed[name] - clean[name]).norm().item() for name in clean)) == pytest.approx(0.3)
        trained = trainer.seen[2]  # at the second step, what is never perturbed has moved too
        assert distance({name: clean[name] for name in left_alone}, {name: trained[name] for name in left_alone}) > 0

    def test_theta(self, train):
        """theta 1 follows the batch gradient alone, which is SAM."""
        sam = train(bert(), sentences(), method="sam", rho=0.3)
        vasso = {theta: train(bert(), sentences(), method="vasso", rho=0.3, theta=theta) for theta in (0.1, 1.0)}
        assert distance(sam.weights, vasso[1.0].weights) == 0.0
        assert distance(sam.weights, vasso[0.1].weights) > PERTURBED


def test_trials_of_a_search(build):
    """`hyperparameter_search` changes the arguments of a trainer that makes a new model for each trial."""
    trainer = build(None, sentences(), method="vasso", max_steps=2, trainer_options={"model_init": lambda: bert()})
    for rho in (0.2, 0.3):
        trainer.args.rho = rho
        training = run(trainer)
        assert logged_norms(training) == pytest.approx([rho] * 2)
        assert training.logs[0]["sharpness/cosine"] == pytest.approx(1.0)  # the average begins at this gradient


SEARCH = """
import json, sys
from pathlib import Path

import ray
from ray import tune
from tiny_training import bert, build_trainer, sentences

ray.init(num_cpus=1, include_dashboard=False)
options = {"method": "sam", "max_steps": 2, "eval_strategy": "steps", "eval_steps": 1}
of_trials = {"model_init": lambda: bert(), "eval_dataset": sentences(4)}
trainer = build_trainer(Path(sys.argv[1], "trials"), None, sentences(8), trainer_options=of_trials, **options)
best = trainer.hyperparameter_search(
    hp_space=lambda _: {"rho": tune.grid_search([0.0, 0.3])},
    backend="ray",
    n_trials=1,
    direction="maximize",
    resources_per_trial={"cpu": 1},
    storage_path=sys.argv[1],
)
found = {trial.config["rho"]: trial.last_result["objective"] for trial in best.run_summary.trials}
Path(sys.argv[1], "found.json").write_text(json.dumps({"best": best.hyperparameters, "found": list(found.items())}))
"""


@pytest.mark.ray
def test_search_with_ray(tmp_path, train):
    """The trials are trained in processes of Ray's, which must find the modules of the tests."""
    pytest.importorskip("ray")
    folder = Path(__file__).parent
    modules = os.pathsep.join([str(folder), str(folder.parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": modules}
    subprocess.run([sys.executable, "-c", SEARCH, str(tmp_path)], env=environment, capture_output=True, check=True)
    search = json.loads((tmp_path / "found.json").read_text())
    losses = {}
    for rho in (0.0, 0.3):
        here = train(bert(), sentences(8), method="sam", rho=rho, max_steps=2)
        losses[rho] = here.trainer.evaluate(sentences(4))["eval_loss"]
    assert dict(search["found"]) == pytest.approx(losses, **LOGGED)
    assert abs(losses[0.0] - losses[0.3]) > PERTURBED
    assert search["best"] == {"rho": max(losses, key=losses.__getitem__)}
