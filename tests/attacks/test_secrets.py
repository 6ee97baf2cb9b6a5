"""Secrets, names of the machine and its folders: in no file that is pushed or passed on, wherever they come from."""

import json
import os
import random
import re
import shutil
import socket
import string
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from huggingface_hub import HfApi
from huggingface_hub.utils import filter_repo_objects
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, Trainer, set_seed

from hf_vasso import VassoTrainer, VassoTrainingArguments
from hf_vasso.cli import main
from hf_vasso.results.record import read_record
from hf_vasso.suite.anonymous import anonymous
from hf_vasso.tasks.glue.small_bert import write_small_bert
from hf_vasso.tasks.glue.synthetic import VOCABULARY, write_agreement

TOKEN = "hf_" + "Secret" * 6
HOST = "planted-host-name"
HOSTS_OWN = socket.gethostname() if socket.gethostname() != "localhost" else HOST

LORA = "--use_peft --lora_r 2 --lora_alpha 4 --lora_target_modules query value".split()
PROBE = ["--probe_hidden_size", "5"]
ALWAYS = {"README.md", "result.json", "tokenizer.json", "tokenizer_config.json"}
KINDS = {  # flags to the files of the model
    "whole": ([], {"config.json", "model.safetensors"}),
    "adapters": (LORA, {"adapter_config.json", "adapter_model.safetensors"}),
    "probe": (PROBE, {"config.json", "model.safetensors"}),
}


class Hub:
    """It keeps the files of each upload."""

    def __init__(self) -> None:
        self.uploads: list[dict[str, bytes]] = []
        self.tokens: set[str | None] = set()

    def upload_folder(self, *, folder_path, token, allow_patterns=None, ignore_patterns=None, **options):
        paths = [path for path in Path(folder_path).rglob("*") if path.is_file()]
        names = [path.relative_to(folder_path).as_posix() for path in paths]
        chosen = filter_repo_objects(names, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns)
        self.uploads.append({name: Path(folder_path, name).read_bytes() for name in chosen})
        self.tokens.add(token)
        done: Future[None] = Future()
        done.set_result(None)
        return done if options.get("run_as_future") else None

    def create_repo(self, name, *, token, **_):
        self.tokens.add(token)
        return SimpleNamespace(repo_id=name)


@pytest.fixture
def hub(monkeypatch) -> Hub:
    hub = Hub()
    monkeypatch.setattr(HfApi, "upload_folder", lambda self, **options: hub.upload_folder(**options))
    monkeypatch.setattr(HfApi, "create_repo", lambda self, name, **options: hub.create_repo(name, **options))
    for name in ("upload_folder", "create_repo"):  # as Transformers 4 calls them
        monkeypatch.setattr(f"transformers.trainer.{name}", getattr(hub, name), raising=False)
    return hub


@pytest.fixture(scope="module")
def materials(tmp_path_factory) -> Path:
    """A folder with `data` and a `model` with weights."""
    folder = tmp_path_factory.mktemp("materials")
    write_agreement(folder / "data", train_examples=16, validation_examples=8)
    write_small_bert(folder / "model", VOCABULARY, hidden_size=8, num_hidden_layers=1)
    set_seed(0)
    AutoModel.from_config(AutoConfig.from_pretrained(folder / "model")).save_pretrained(folder / "model")
    return folder


@pytest.fixture
def flags(materials, tmp_path) -> list[str]:
    return (
        f"glue --task_name agreement --model_name_or_path {materials}/model --data_dir {materials}/data "
        f"--output_dir {tmp_path}/run --max_steps 2 --save_steps 1 --report_to none --disable_tqdm true"
    ).split()


@pytest.fixture(autouse=True)
def planted(monkeypatch, tmp_path):
    monkeypatch.setattr(socket, "gethostname", lambda: HOST)
    monkeypatch.setattr("platform.node", lambda: HOST)
    monkeypatch.setenv("USER", "planted-user")


def found_in(files: dict[str, bytes], *folders: Path) -> list[tuple[str, str]]:
    """Which of the files has which of the things that none is to have."""
    unwanted = [TOKEN, HOST, "planted-user", *map(str, folders), str(Path.home()) + "/"]
    return [(name, word) for name, content in files.items() for word in unwanted if word.encode() in content]


def all_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- what is pushed ---


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_pushed_is_a_list(kind, flags, hub, materials, tmp_path):
    words, of_model = KINDS[kind]
    push = ["--push_to_hub", "--hub_model_id", "me/model", "--hub_token", TOKEN, "--token", TOKEN]
    assert main([*flags, *words, *push]) == 0
    *before, last = hub.uploads
    assert hub.tokens == {TOKEN}
    assert len(before) == 3  # at each checkpoint, and when the model was saved
    assert last.keys() == ALWAYS | of_model
    for files in before:
        assert files.keys() == (ALWAYS | of_model) - {"README.md", "result.json"}
    for files in hub.uploads:
        assert found_in(files, tmp_path, materials) == []
    assert [name for name, content in all_files(tmp_path).items() if TOKEN.encode() in content] == []
    assert last["result.json"] == (tmp_path / "run" / "result.json").read_bytes()
    record, config = tmp_path / "run" / "run.json", tmp_path / "run" / "config.json"
    kept = {path.name: path.read_bytes() for path in (record, config) if path.exists()}
    assert found_in(kept, tmp_path, materials) == []


def test_what_a_translation_pushes(hub, tmp_path):
    (tmp_path / "data").mkdir()
    for language, lines in (
        ("de", ["ein haus", "zwei katzen", "der hund"]),
        ("en", ["a house", "two cats", "the dog"]),
    ):
        for split in ("train", "validation", "test"):
            (tmp_path / "data" / f"{split}.{language}").write_text("\n".join(lines) + "\n")
    words = (
        f"translate --data_dir {tmp_path}/data --source_lang de --target_lang en --config_name tiny --max_tokens 40 "
        f"--vocab_size 60 --output_dir {tmp_path}/run --report_to none --disable_tqdm true --max_steps 1 --do_train "
        f"--do_eval --do_predict --push_to_hub --hub_model_id me/model --hub_token {TOKEN}"
    )
    assert main(words.split()) == 0
    files = hub.uploads[-1]
    of_tokenizer = {"merges.txt", "tokenizer_config.json", "vocab-src.json", "vocab-tgt.json"}
    of_model = {"config.json", "generation_config.json", "model.safetensors"}
    assert files.keys() == of_tokenizer | of_model | {"README.md", "result.json"}
    assert found_in(files, tmp_path) == []
    assert found_in(all_files(tmp_path / "run"), tmp_path) == []


def test_nothing_else_in_the_folder_is_pushed(attacks, flags, hub, tmp_path, capsys):
    run = tmp_path / "run"
    push = [*flags, "--push_to_hub", "--hub_model_id", "me/model", "--hub_token", TOKEN]
    assert main(push) == 0
    (expected, secret) = hub.uploads[-1].keys(), tmp_path / "secret.txt"
    secret.write_text(TOKEN)
    shutil.copytree(run, tmp_path / "whole")
    names = [
        "notes.txt",
        ".env",
        "adapter_notes.txt",
        "model_v1.safetensors.bak",
        "log.txt",
        "failure.json",
        "run.json",
    ]
    names += ["training_args.bin", "tokenizer_notes.json", "vocab.json.old", "model.safetensors.key", "logs/log.txt"]
    links = ["merges.txt", "vocab.json", "special_tokens_map.json", "chat_template.jinja", "spiece.model"]
    attack = attacks(6)
    for number in range(attack.attempts):
        chance = random.Random(number)
        shutil.rmtree(run)
        shutil.copytree(tmp_path / "whole", run)
        for name in chance.sample(names, 4):
            (run / name).parent.mkdir(exist_ok=True)
            if not (run / name).exists():
                (run / name).write_text(f"{TOKEN} {HOST} {tmp_path}")
        hub.uploads.clear()
        status = main(push)
        as_planned = all(files.keys() == expected and not found_in(files, tmp_path) for files in hub.uploads)
        attack.count("survived" if as_planned and (status, len(hub.uploads)) == (0, 1) else "wrong")
        (run / chance.choice(links)).symlink_to(secret)
        assert main(push) == 2
        assert "and push_to_hub might publish what they lead to" in capsys.readouterr().err
        assert len(hub.uploads) == 1
    attack.check()


def test_the_trainers_arguments_are_saved_without_their_token(tmp_path, hub, materials):
    """Also those of a script of one's own, whose pushes are the Trainer's."""
    options = {"report_to": "none", "use_cpu": True, "max_steps": 1, "save_steps": 1, "disable_tqdm": True}
    args = VassoTrainingArguments(
        str(tmp_path / "run"), push_to_hub=True, hub_model_id="me/model", hub_token=TOKEN, **options
    )
    dataset = [{"input_ids": torch.ones(4, dtype=torch.long), "labels": 1} for _ in range(8)]
    model = AutoModelForSequenceClassification.from_config(AutoConfig.from_pretrained(materials / "model"))
    trainer = VassoTrainer(model, args, train_dataset=dataset)
    trainer.train()
    trainer.save_model()
    assert args.hub_token == TOKEN
    assert (hub.tokens, len(hub.uploads)) == ({TOKEN}, 2)
    saved = all_files(tmp_path)
    assert {"run/training_args.bin", "run/checkpoint-1/training_args.bin"} <= saved.keys()
    files = {**saved, **{f"upload/{name}": content for upload in hub.uploads for name, content in upload.items()}}
    assert [name for name, content in files.items() if TOKEN.encode() in content] == []
    loaded = torch.load(tmp_path / "run" / "training_args.bin", weights_only=False)
    assert (loaded.hub_token, loaded.hub_model_id, loaded.rho) == (None, "me/model", args.rho)


# --- what a run keeps ---


def test_a_run_of_an_earlier_version_goes_on(flags, materials, tmp_path, capsys):
    """Its `run.json` has folders, which are compared as exactly."""
    assert main([*flags, "--do_train"]) == 0
    file = tmp_path / "run" / "run.json"
    content = json.loads(file.read_text())
    del content["files"]
    assert content["arguments"]["data_dir"].startswith("data#")
    content["arguments"] |= {"data_dir": f"{materials}/data", "model_name_or_path": f"{materials}/model"}
    file.write_text(json.dumps(content))
    assert main([*flags, "--do_eval"]) == 0
    assert read_record(tmp_path / "run" / "result.json").arguments["data_dir"] == "data"
    shutil.copytree(materials, tmp_path / "other")
    elsewhere = [word.replace(str(materials), str(tmp_path / "other")) for word in flags]
    for arguments in (content["arguments"], {**content["arguments"], "data_dir": "data#0123456789abcdef"}):
        file.write_text(json.dumps({**content, "arguments": arguments}))
        assert main([*elsewhere, "--do_predict"]) == 2
        assert "--data_dir: was data#" in capsys.readouterr().err


def test_a_probe_is_loaded_with_the_model_that_the_user_names(flags, materials, tmp_path, capsys):
    assert main([*flags, *PROBE]) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["backbone"], len(config["backbone_fingerprint"])) == ("model", 16)
    again = [*flags, "--model_name_or_path", f"{tmp_path}/run", "--output_dir", f"{tmp_path}/again", "--do_eval"]
    assert main(again) == 2
    said = capsys.readouterr().err
    assert "the probe stands on a model in a folder, model, and no folder is opened because a file names it" in said
    assert main([*again, "--backbone", f"{materials}/model"]) == 0
    scores = [read_record(tmp_path / name / "result.json").metrics for name in ("run", "again")]
    assert scores[1] == pytest.approx(scores[0], rel=1e-6)
    shutil.copytree(materials / "model", tmp_path / "other")
    weights = AutoModel.from_pretrained(tmp_path / "other")
    weights.embeddings.word_embeddings.weight.data += 1
    weights.save_pretrained(tmp_path / "other")
    assert main([*again, "--backbone", f"{tmp_path}/other", "--fresh"]) == 2
    assert "the probe was trained on another model than" in capsys.readouterr().err


# --- what a suite keeps ---


@pytest.mark.slow
def test_no_file_of_a_suite_tells_of_the_machine(materials, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    before = dict(os.environ)
    content = {
        "name": "small",
        "output_dir": str(tmp_path / "runs"),
        "tasks": {"agreement": {}, "rte": {"data_dir": str(tmp_path)}},
        "methods": {"none": {}, "sam": {"rho": 0.1}},
        "seeds": [0],
        "defaults": {
            "model_name_or_path": str(materials / "model"),
            "data_dir": str(materials / "data"),
            "max_steps": 1,
            "save_steps": 1,
            "use_cpu": True,
        },
        "select": {"stages": {"rho": [0.1, 0.2]}, "holdout_samples": 4},
    }
    (tmp_path / "rte").mkdir()
    row = json.dumps({"sentence1": "the keys", "sentence2": "the keys", "label": 0})
    (tmp_path / "rte" / "train.jsonl").write_text(f"{row}\n" * 9)
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(content))
    try:
        assert main(["suite", str(tmp_path / "suite.yaml")]) == 1  # rte has nothing to evaluate on
    finally:
        os.environ.clear()
        os.environ.update(before)
    files = all_files(tmp_path / "runs")
    names = {Path(name).name for name in files}
    assert {"log.txt", "run.json", "result.json", "failure.json", "suite.json", "selection.json"} <= names
    assert found_in(files, tmp_path, materials) == []
    shown = b"".join(content for name, content in files.items() if name.endswith((".json", ".txt", ".md")))
    assert re.search(rb"\b%b\b" % re.escape(HOSTS_OWN.encode()), shown) is None


def test_secrets_and_folders_are_taken_out_of_any_text(attacks, monkeypatch, tmp_path):
    monkeypatch.setenv("MY_API_KEY", TOKEN)
    monkeypatch.setenv("DB_PASSWORD", TOKEN[:12])  # a part of the other
    monkeypatch.chdir(tmp_path)
    folders = [tmp_path, Path.home() / "models", Path("/data/planted-user/glue"), Path(torch.__file__).parent]
    around = ["'", '"', " ", "=", "(", ":", "\n", ", ", "[", "--data_dir="]
    attack = attacks(200)
    for number in range(attack.attempts):
        chance = random.Random(number)
        text = ""
        for _ in range(chance.randrange(1, 9)):
            word = "".join(chance.choices(string.printable, k=chance.randrange(9)))
            planted = chance.choice([TOKEN, HOST, *(f"{folder}/file.py" for folder in folders)])
            text += word + chance.choice(around) + planted + chance.choice(around[:-1])
        shown = anonymous(text)
        bad = found_in({"text": shown.encode()}, tmp_path, Path.home(), Path(torch.__file__).parent)
        attack.count("wrong" if bad else "survived")
    attack.check()
    kept = "loss 1/2 at 3.5e-4, see https://huggingface.co/docs/hub and docs/trainer.md; and/or *** a/b"
    assert anonymous(kept) == kept


def test_the_stock_trainer_would_save_the_token():
    """So that the tests above are about something: this is what they keep away."""
    assert "torch.save(self.args" in Path(str(Trainer.__init__.__code__.co_filename)).read_text()
