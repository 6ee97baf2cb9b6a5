"""The model card of a run on a translation task."""

from huggingface_hub import ModelCard

from hf_vasso.methods import Method
from hf_vasso.results.record import Record
from hf_vasso.tasks.model_card import CardTask, model_card
from hf_vasso.tasks.translation.corpora import Corpus
from hf_vasso.tasks.translation.model_positions import LONGEST_PLUS, LONGEST_TIMES

__all__ = ["translation_card"]

_USE = """\
```python
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained("FOLDER"), AutoTokenizer.from_pretrained("FOLDER")
sources = tokenizer(["..."], return_tensors="pt")
longest = int({times} * sources["input_ids"].shape[1]) + {plus}
ids = model.generate(**sources, num_beams={beams}, max_new_tokens=longest)
print(tokenizer.batch_decode(ids, skip_special_tokens=True))
```
"""
_VALIDATION = "validation_"


def translation_card(record: Record, method: Method, corpus: Corpus) -> ModelCard:
    """
    Describe the model of a run on a translation task.

    Args:
        record: The run.
        method: Its method.
        corpus: What it translates, from the first language into the second.
    """
    facts = CardTask(
        task_type="translation",
        dataset=corpus.hub_id,
        dataset_config=corpus.hub_config or corpus.name,
        languages=list(corpus.languages),
        metrics=["bleu", "chrf"],
        library="transformers",
        pipeline_tag="translation",
        use=_USE.format(beams=record.arguments["num_beams"], times=LONGEST_TIMES, plus=LONGEST_PLUS),
        split_and_metric=lambda name: _split_and_metric(record, name),
    )
    return model_card(record, method, facts)


def _split_and_metric(record: Record, name: str) -> tuple[str, str]:
    if not name.startswith(_VALIDATION):
        return "test", name
    return "train" if record.arguments.get("holdout_samples") else "validation", name.removeprefix(_VALIDATION)
