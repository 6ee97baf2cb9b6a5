"""Each method on translations: it trains in its own way, or the command says why not before it loads anything."""

import gc

import datasets
import pytest
import torch
from transformers import DataCollatorForSeq2Seq

from hf_vasso import METHODS, VassoSeq2SeqTrainingArguments
from hf_vasso.cli import main
from hf_vasso.tasks.commands import task_run
from hf_vasso.tasks.translation.model import Architecture, new_model
from hf_vasso.tasks.translation.subwords import learn_tokenizer
from hf_vasso.tasks.translation.trainer import TranslationTrainer

SIZE = Architecture(layers=1, width=16, feed_forward=32, heads=2, dropout=0.0)
REFUSED = {
    "saf": "method 'saf' keeps the logits of each example as one row of classes, and a translation has a row for"
}
NUMBERS = {"ss-sam": {"p": 0.99}, "mesa": {"start": 0.0}}  # so that the first two steps are not those of "none"
WORDS = datasets.Dataset.from_dict({"de": ["ab ba abba"], "en": ["ba ab"]})
TOKENIZER = learn_tokenizer(WORDS, "de", "en", 20, lower_case=False)


@pytest.fixture(scope="module", autouse=True)
def little_garbage():
    """Each training collects garbage, which takes a second where all modules are looked through."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """Two steps of two micro-batches with label smoothing, as recipes have it."""
    generator = torch.Generator().manual_seed(0)
    sides = [
        [torch.randint(4, len(TOKENIZER), (2 + pair % 3,), generator=generator).tolist() for pair in range(12)]
        for _ in range(2)
    ]
    pairs = datasets.Dataset.from_dict({"input_ids": sides[0], "labels": sides[1]})
    folder = str(tmp_path_factory.mktemp("methods"))

    def train(method):
        torch.manual_seed(0)
        model = new_model(SIZE, TOKENIZER, longest=16)
        args = VassoSeq2SeqTrainingArguments(
            folder,
            method=method,
            method_args=NUMBERS.get(method),
            rho_warmup_steps=0,  # else the first of the two steps, the only one that some perturb, has rho 0
            max_steps=2,
            gradient_accumulation_steps=2,
            label_smoothing_factor=0.1,
            learning_rate=1e-2,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
        )
        trainer = TranslationTrainer(
            model=model,
            args=args,
            train_dataset=pairs,
            data_collator=DataCollatorForSeq2Seq(TOKENIZER, model=model),
            max_tokens=12,
            num_beams=1,
            score=lambda pairs, ids: {},
        )
        trainer.train()
        return trainer

    return train


@pytest.fixture(scope="module")
def plain(train):
    return weights(train("none"))


def weights(trainer):
    return torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])


@pytest.mark.parametrize("method", [method for method in METHODS if method not in REFUSED])
def test_it_trains_in_its_own_way(method, train, plain):
    trainer = train(method)
    found = weights(trainer)
    assert trainer.state.global_step == 2 and trainer.method.name == method
    assert found.isfinite().all()
    assert (method == "none") == torch.equal(found, plain)


def command(folder, method, *more):
    words = ["--source_lang", "de", "--target_lang", "en", "--config_name", "tiny", "--method", method]
    return ["translate", "--data_dir", str(folder), *words, *more]


@pytest.mark.parametrize("method", REFUSED)
def test_it_is_refused_before_anything_is_loaded(method, tmp_path, capsys):
    words = command(tmp_path / "nothing", method, "--do_train", "--max_steps", "100")
    for more in ([], ["--dry_run"]):
        assert main([*words, *more]) == 2
        assert REFUSED[method] in capsys.readouterr().err
    with pytest.raises(ValueError, match=REFUSED[method].partition(",")[0]):  # as a suite does
        task_run(words).plan()
