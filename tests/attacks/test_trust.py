"""Attacks by files of others: runs, models, selections, recipes and suites that ask for what only users may give."""

import json
import pickle
import random
import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import AutoConfig, AutoModel, set_seed

from hf_vasso.cli import main
from hf_vasso.results.record import read_record, write_record
from hf_vasso.suite import planning
from hf_vasso.suite.choice_file import SELECTION_FILE
from hf_vasso.suite.planning import Run
from hf_vasso.suite.selection import select
from hf_vasso.suite.suite_file import read_suite_file
from hf_vasso.suite.trials import TrialResult, write_trial
from hf_vasso.tasks.cost import NO_COST
from hf_vasso.tasks.glue import run_glue, submit
from hf_vasso.tasks.glue.arguments import GlueArguments
from hf_vasso.tasks.glue.small_bert import write_small_bert
from hf_vasso.tasks.glue.synthetic import VOCABULARY, write_agreement
from hf_vasso.tasks.glue.table import TASKS
from hf_vasso.training.arguments import VassoTrainingArguments

SIZE = 3  # of every test set here
TOKEN = "hf_secretsecretsecret"

# What a file would gain something by, with a value that does harm.
DANGEROUS: dict[str, Any] = {
    "trust_remote_code": True,
    "token": TOKEN,
    "hub_token": TOKEN,
    "push_to_hub": True,
    "hub_model_id": "someone/else",
    "hub_private_repo": False,
    "hub_always_push": True,
    "hub_strategy": "all_checkpoints",
    "trackio_space_id": "someone/else",
}
SPELLINGS: tuple[Callable[[str], str], ...] = (str, lambda name: name.replace("_", "-"))


def is_dangerous(arguments: Any, training: Any) -> bool:
    """Whether flags do what only the user may ask for."""
    given = {**vars(arguments), **vars(training)}
    defaults = {entry.name: entry.default for group in (arguments, training) for entry in fields(group)}
    return any(name in given and given[name] != defaults[name] for name in DANGEROUS)


@pytest.fixture(scope="module")
def materials(tmp_path_factory) -> Path:
    """A folder with `data` and a `model` with weights."""
    folder = tmp_path_factory.mktemp("materials")
    write_agreement(folder / "data", train_examples=16, validation_examples=8)
    write_small_bert(folder / "model", VOCABULARY, hidden_size=8, num_hidden_layers=1)
    set_seed(0)
    AutoModel.from_config(AutoConfig.from_pretrained(folder / "model")).save_pretrained(folder / "model")
    for split, hidden in (("train", False), ("validation", False), ("test", True)):
        rows = [{"sentence": "the keys seem famous", "label": -1 if hidden else row % 2} for row in range(SIZE)]
        (folder / "data" / "cola").mkdir(exist_ok=True)
        (folder / "data" / "cola" / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


# --- runs and models of others ---


@pytest.fixture(scope="module")
def made(materials, tmp_path_factory) -> Path:
    """A run on cola that has trained, and predictions of all other tasks."""
    folder = tmp_path_factory.mktemp("runs")
    words = f"glue --task_name cola --model_name_or_path {materials}/model --data_dir {materials}/data --max_steps 1"
    assert main([*words.split(), "--output_dir", str(folder / "cola"), "--save_strategy", "no"]) == 0
    record = read_record(folder / "cola" / "result.json")
    for name in (name for name in TASKS if name not in ("cola", "agreement")):
        write_record(replace(record, task=name, task_label=name), folder / name)
        answer = "2.500" if TASKS[name].is_regression else TASKS[name].label_names[0]
        for file in TASKS[name].prediction_files.values():
            lines = "".join(f"{index}\t{answer}\n" for index in range(SIZE))
            (folder / name / file).write_text("index\tprediction\n" + lines)
    return folder


@pytest.fixture
def runs(made, tmp_path, monkeypatch) -> Path:
    for name, task in TASKS.items():
        monkeypatch.setitem(TASKS, name, replace(task, split_sizes=dict.fromkeys(task.test_splits, SIZE)))
    shutil.copytree(made, tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture
def command(runs, materials, tmp_path) -> list[str]:
    return ["submit", str(runs), "--out", str(tmp_path / "glue.zip"), "--data_dir", str(materials / "data")]


class Predicted(Exception):
    """Raised in place of a prediction."""

    def __init__(self, arguments: Any, training: Any) -> None:
        self.flags = {**vars(arguments), **vars(training)}
        super().__init__()


def flags_of_prediction(command: list[str]) -> dict[str, Any] | None:
    """The flags with which a run would predict, None where it is refused."""
    try:
        assert main(command) == 2
    except Predicted as reached:
        changing = ("output_dir", "run_name", "logging_dir")  # a folder of its own for each prediction
        return {name: str(value) for name, value in reached.flags.items() if name not in changing}
    return None


def test_a_run_says_nothing_but_what_changes_predictions(attacks, runs, command, monkeypatch):
    def reach(arguments, training):
        raise Predicted(arguments, training)

    monkeypatch.setattr(submit, "run_glue", reach)
    file = runs / "cola" / "run.json"
    content = json.loads(file.read_text())
    expected = flags_of_prediction(command)
    assert expected
    names = {entry.name for kind in (GlueArguments, VassoTrainingArguments) for entry in fields(kind)}
    harmless = {"max_seq_length", "pad_to_max_length", "bf16", "fp16", "tf32", "data_dir"}
    others = sorted(names - harmless)
    evil = [True, 1, "evil", "/evil", "../evil", "--trust_remote_code", {"": "evil"}, ["--token", "evil"], None]
    attack = attacks(60)
    for number in range(attack.attempts):
        chance = random.Random(number)
        planted = {name: chance.choice(evil) for name in chance.sample(others, 3)}
        planted |= {name: DANGEROUS[name] for name in chance.sample(sorted(DANGEROUS), 2)}
        planted |= {name: chance.choice(evil[2:6]) for name in harmless if chance.random() < 0.05}
        file.write_text(json.dumps({**content, "arguments": {**content["arguments"], **planted}}))
        reached = flags_of_prediction(command)
        attack.count("survived" if reached in (None, expected) else "wrong")
    attack.check()


class Pickled:
    """What creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def plant_code(folder: Path, marker: Path, chance: random.Random) -> str:
    """Put code into the folder of a model in one of several ways."""
    config = json.loads((folder / "config.json").read_text())
    code = f"from pathlib import Path\nPath({str(marker)!r}).touch()\n"
    way = chance.choice(["config", "model", "tokenizer", "pickle", "adapters", "arguments"])
    (folder / "evil.py").write_text(code + "class Evil:\n    pass\n")
    classes = {"AutoConfig": "evil.Evil", "AutoModelForSequenceClassification": "evil.Evil"}
    if way == "config":
        config |= {"model_type": chance.choice(["evil", "", "Bert"]), "auto_map": classes}
    elif way == "model":
        config["auto_map"] = classes
    elif way == "tokenizer":
        tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
        tokenizer |= {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}}
        (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    elif way == "pickle":
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weights": Pickled(marker)}))
    elif way == "adapters":
        adapters = {
            "peft_type": chance.choice(["LORA", "PROMPT_TUNING"]),
            "task_type": "SEQ_CLS",
            "base_model_name_or_path": str(folder),
            "auto_mapping": {"base_model_class": "Evil", "parent_library": "evil"},
            "prompt_tuning_init": "TEXT",
            "prompt_tuning_init_text": "evil",
            "num_virtual_tokens": 2,
            "tokenizer_name_or_path": str(folder),
            "tokenizer_kwargs": {"trust_remote_code": True},
            "megatron_config": {"evil": 1},
            "megatron_core": "evil",
        }
        kept = {key: value for key, value in adapters.items() if "megatron" not in key or chance.random() < 0.5}
        (folder / "adapter_config.json").write_text(json.dumps(kept))
        config |= {"model_type": "evil", "auto_map": classes} if chance.random() < 0.5 else {}
    else:
        (folder / "training_args.bin").write_bytes(pickle.dumps(Pickled(marker)))
    (folder / "config.json").write_text(json.dumps(config))
    return way


@pytest.mark.filterwarnings("ignore")  # PEFT's, about strange adapters
def test_code_beside_a_model_does_not_run(attacks, made, runs, command, tmp_path):
    attack = attacks(12)
    marker = tmp_path / "marker"
    for number in range(attack.attempts):
        chance = random.Random(number)
        shutil.rmtree(runs / "cola")
        shutil.copytree(made / "cola", runs / "cola")
        plant_code(runs / "cola", marker, chance)
        file = runs / "cola" / "run.json"
        content = json.loads(file.read_text())
        content["arguments"] |= dict.fromkeys(("trust_remote_code", "trust-remote-code"), True)
        file.write_text(json.dumps(content))
        try:
            assert main(command) in (0, 2)
        except Exception as error:  # whatever strange adapters raise, code does not run
            print(type(error))
        attack.count("wrong" if marker.exists() else "survived")
        marker.unlink(missing_ok=True)
    attack.check()


def test_with_the_users_flag_the_code_runs(runs, command, tmp_path, capsys):
    """So that the marker above would be seen."""
    marker = tmp_path / "marker"
    chance = next(random.Random(seed) for seed in range(99) if random.Random(seed).choice(range(6)) == 0)
    assert plant_code(runs / "cola", marker, chance) == "config"
    assert main(command) == 2
    assert "Please pass the argument --trust_remote_code" in capsys.readouterr().err
    assert not marker.exists()
    with pytest.raises(Exception, match="."):  # the class is none of a configuration
        main([*command, "--trust_remote_code"])
    assert marker.exists()


# --- recipes and suites of others ---


def plant_flag(flags: dict[str, Any], chance: random.Random) -> None:
    """Add a dangerous flag in one of the ways in which YAML can spell it."""
    name = chance.choice(sorted(DANGEROUS))
    value, spelled = DANGEROUS[name], chance.choice(SPELLINGS)(name)
    if value is True:
        value = chance.choice([True, "true", "True", "1", 1, "yes", ["true"], [[True]]])
    way = chance.choice(["key", "key", "with =", "in a list", "as a value", "variable"])
    if way == "with =":
        flags[f"{spelled}={value}"] = chance.choice([[], "", None])
    elif way == "in a list":
        flags[chance.choice(["lora_target_modules", "max_steps", "report_to"])] = ["1", f"--{spelled}", str(value)]
    elif way == "as a value":
        flags[chance.choice(["task_label", "run_name", "seed"])] = f"--{spelled}={value}"
    elif way == "variable":
        flags[spelled] = "${EVIL}"
    else:
        flags[spelled] = value


@pytest.fixture
def seen(monkeypatch) -> list[bool]:
    """Whether the flags of each run that is planned or begun are dangerous."""
    found = []
    begin = run_glue.GlueRun.__init__

    def look(self, arguments, training):
        found.append(is_dangerous(arguments, training))
        begin(self, arguments, training)

    monkeypatch.setattr(run_glue.GlueRun, "__init__", look)
    monkeypatch.setattr("transformers.Trainer.init_hf_repo", lambda *_, **__: None)
    monkeypatch.setenv("EVIL", "true")
    return found


def test_recipes_ask_for_nothing_that_only_the_user_gives(attacks, materials, seen, tmp_path, capsys):
    attack = attacks(80)
    path = tmp_path / "recipe.yaml"
    words = f"glue --config {path} --task_name agreement --model_name_or_path {materials}/model --dry_run"
    words += f" --data_dir {materials}/data --output_dir {tmp_path}/run"
    for number in range(attack.attempts):
        chance = random.Random(number)
        flags: dict[str, Any] = {"learning_rate": 1e-3, "max_steps": 2}
        plant_flag(flags, chance)
        path.write_text(yaml.safe_dump(flags))
        seen.clear()
        try:
            status = main(words.split())
        except SystemExit as end:
            status = end.code
        said = capsys.readouterr()
        leaks = TOKEN in said.out + said.err
        survived = status in (0, 2) and not any(seen) and not leaks
        attack.count("survived" if survived else "wrong")
    attack.check()


def suite_content(materials: Path, folder: Path) -> dict[str, Any]:
    return {
        "name": "small",
        "output_dir": str(folder / "suite"),
        "tasks": {"agreement": {}},
        "methods": {"none": {}, "sam": {}},
        "seeds": [0],
        "defaults": {
            "model_name_or_path": str(materials / "model"),
            "data_dir": str(materials / "data"),
            "max_steps": 2,
            "use_cpu": True,
        },
    }


def test_suites_ask_for_nothing_that_only_the_user_gives(attacks, materials, seen, tmp_path, capsys):
    attack = attacks(80)
    path = tmp_path / "suite.yaml"
    for number in range(attack.attempts):
        chance = random.Random(number)
        content = suite_content(materials, tmp_path)
        place = chance.choice(["defaults", "tasks", "methods", "select", "merged"])
        flags: dict[str, Any] = {}
        plant_flag(flags, chance)
        if place == "defaults":
            content["defaults"] |= flags
        elif place in ("tasks", "methods"):
            content[place][chance.choice(sorted(content[place]))] |= flags
        elif place == "select":
            content["select"] = {name: [value] for name, value in flags.items()}
        text = yaml.safe_dump(content)
        if place == "merged":
            text = yaml.safe_dump({"defaults": {**content["defaults"], **flags}}).replace("defaults:", "x: &x", 1)
            text += "tasks: {agreement: {<<: *x}}\n" + yaml.safe_dump(
                {key: value for key, value in content.items() if key != "tasks"}
            )
        path.write_text(text)
        seen.clear()
        status = main(["suite", str(path), "--dry_run"])
        said = capsys.readouterr()
        leaks = TOKEN in said.out + said.err
        survived = status in (0, 2) and not any(seen) and not leaks
        attack.count("survived" if survived else "wrong")
    attack.check()


@pytest.mark.parametrize("flag", ["trust_remote_code", "push_to_hub"])
def test_what_the_user_repeats_a_suite_and_a_recipe_may_say(flag, materials, seen, tmp_path, capsys):
    content = suite_content(materials, tmp_path)
    content["defaults"][flag] = True
    suite, recipe = tmp_path / "suite.yaml", tmp_path / "recipe.yaml"
    suite.write_text(yaml.safe_dump(content))
    recipe.write_text(yaml.safe_dump({flag: True, "max_steps": 2}))
    glue = f"glue --config {recipe} --task_name agreement --model_name_or_path {materials}/model --dry_run"
    glue += f" --data_dir {materials}/data --output_dir {tmp_path}/run"
    for words in (["suite", str(suite), "--dry_run"], glue.split()):
        seen.clear()
        assert main(words) == 2
        assert f"add --{flag} to `hf-vasso {words[0]}`" in capsys.readouterr().err
        assert not any(seen)
        assert main([*words, f"--{flag}"]) == 0
        assert any(seen)


@pytest.mark.parametrize("value", [TOKEN, "${HF_TOKEN}"])
@pytest.mark.parametrize("flag", ["token", "hub_token"])
def test_no_file_has_a_token(flag, value, materials, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    content = suite_content(materials, tmp_path)
    content["methods"]["sam"][flag] = value
    suite, recipe = tmp_path / "suite.yaml", tmp_path / "recipe.yaml"
    suite.write_text(yaml.safe_dump(content))
    recipe.write_text(yaml.safe_dump({flag: value}))
    for words in (["suite", str(suite), "--dry_run"], ["glue", "--config", str(recipe), "--dry_run"]):
        assert main(words) == 2
        said = capsys.readouterr().err
        assert f"has a {flag}, and secrets have no place in files; leave it out and export HF_TOKEN" in said
        assert TOKEN not in said


# --- selections of others ---


def finish_trials(runs: list[Run]) -> None:
    for run in runs:
        arguments = planning.recorded_arguments(run)
        tried = dict(run.tries or {})
        write_trial(TrialResult(tried, 1000, "accuracy", "higher", 0.5, 0.5, arguments, dict(NO_COST)), run.folder)


def test_a_selection_chooses_among_the_values_of_the_suite(attacks, materials, seen, tmp_path, capsys):
    content = suite_content(materials, tmp_path)
    stages = [{"learning_rate": [1e-3, 1e-2]}, {"rho": [0.1, 0.2]}]
    content["select"] = {"stages": stages, "holdout_samples": 4}
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump(content))
    suite = read_suite_file(path)
    select(suite, lambda runs: finish_trials(list(runs)))
    file = suite.output_dir / SELECTION_FILE
    whole = json.loads(file.read_text())
    assert main(["suite", str(path), "--dry_run"]) == 0
    attack = attacks(40)
    for number in range(attack.attempts):
        chance = random.Random(number)
        changed = json.loads(json.dumps(whole))
        choice = changed["tasks"]["agreement"][chance.choice(["none", "sam"])]
        name = chance.choice(
            [*DANGEROUS, "max_steps", "model_name_or_path", "data_dir", "output_dir", "learning_rate"]
        )
        way = chance.choice(["more", "instead", "fewer"])
        value = DANGEROUS.get(name, chance.choice(["/evil", 5, [0.001, "--trust_remote_code"], "1e-3"]))
        if way == "fewer":
            choice["chosen"].popitem()
        elif way == "instead":
            choice["chosen"] = {name: value}
        else:
            choice["chosen"][chance.choice(SPELLINGS)(name)] = value
        file.write_text(json.dumps(changed))
        seen.clear()
        status = main(["suite", str(path), "--dry_run"])
        said = capsys.readouterr().err
        attack.count("survived" if status == 2 and "whose values are some of those asked for" in said else "wrong")
        assert not any(seen)
    attack.check()
