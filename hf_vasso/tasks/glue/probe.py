"""A probe: a small network on the mean-pooled features of a frozen pretrained model, trained in seconds."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import datasets.config
import torch
import transformers
from datasets.fingerprint import Hasher
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_vasso.tasks.hub import only_from_cache
from hf_vasso.tasks.model_files import folder_fingerprint

__all__ = ["Probe", "ProbeConfig", "load_backbone", "pooled_features"]

_BATCH_SIZE = 64


class ProbeConfig(PretrainedConfig):
    """
    The configuration of a `Probe`.

    Args:
        input_size: Width of the features.
        hidden_size: Width of the hidden layer.
        dropout: Probability of a dropped hidden unit.
        backbone: The hub id of the model that makes the features, or the base name of its folder.
        backbone_revision: Its branch, tag or commit on the hub.
        backbone_fingerprint: That of the files in its folder, None where it is on the hub.
    """

    model_type = "hf_vasso_probe"

    def __init__(
        self,
        input_size: int = 1,
        hidden_size: int = 1,
        dropout: float = 0.1,
        backbone: str = "",
        backbone_revision: str = "main",
        backbone_fingerprint: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.dropout = dropout
        self.backbone = backbone
        self.backbone_revision = backbone_revision
        self.backbone_fingerprint = backbone_fingerprint


class Probe(PreTrainedModel):
    """Features -> linear -> GELU -> dropout -> linear -> logits."""

    config_class = ProbeConfig  # pyright: ignore[reportAssignmentType]
    main_input_name = "features"

    def __init__(self, config: ProbeConfig) -> None:
        super().__init__(config)
        self.hidden = nn.Linear(config.input_size, config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)  # pyright: ignore[reportArgumentType]
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            module.reset_parameters()

    def forward(self, features: Tensor, labels: Tensor | None = None) -> SequenceClassifierOutput:
        """
        Classify, and score where labels are given.

        Args:
            features: (batch, input_size)
            labels: (batch,): class numbers, or numbers to regress on.

        Returns:
            "logits", (batch, num_labels), and with labels the mean "loss" over the batch.
        """
        logits = self.classifier(self.dropout(nn.functional.gelu(self.hidden(features))))
        return SequenceClassifierOutput(loss=None if labels is None else self._loss(logits, labels), logits=logits)

    def _loss(self, logits: Tensor, labels: Tensor) -> Any:
        if self.config.problem_type == "regression":
            return nn.functional.mse_loss(logits.squeeze(-1), labels.to(logits.dtype))
        return nn.functional.cross_entropy(logits, labels)


AutoConfig.register(ProbeConfig.model_type, ProbeConfig)
AutoModelForSequenceClassification.register(ProbeConfig, Probe)


def load_backbone(config: ProbeConfig, hub_options: Mapping[str, Any], given: str | None = None) -> PreTrainedModel:
    """
    Load the frozen model under a probe.

    Args:
        config: It names the model. Only one on the hub is loaded by that: folders are named by the user.
        hub_options: What `from_pretrained` takes beside the name and revision.
        given: The hub id or folder that the command line names, None for none.

    Raises:
        ValueError: The model is in a folder and none is given, or other files are in the one that is.
    """
    name, expected = given or config.backbone, config.backbone_fingerprint
    if given is None and (expected or os.path.exists(name) or name.startswith(("/", ".", "~"))):
        raise ValueError(
            f"the probe stands on a model in a folder, {os.path.basename(name)}, and no folder is opened because a "
            "file names it; name it with --backbone"
        )
    if expected and os.path.isdir(name) and folder_fingerprint(Path(name)) != expected:
        raise ValueError(
            f"the probe was trained on another model than {name} holds (fingerprint {expected}, there "
            f"{folder_fingerprint(Path(name))}); name the folder of {config.backbone} with --backbone"
        )
    options = {
        **hub_options,
        "revision": config.backbone_revision,
        "local_files_only": only_from_cache(name, config.backbone_revision, hub_options.get("cache_dir")),
        "dtype": torch.float32,
    }
    return AutoModel.from_pretrained(name, **options).eval()


def pooled_features(
    splits: Mapping[str, datasets.Dataset],
    tokenizer: PreTrainedTokenizerBase,
    backbone: PreTrainedModel,
    device: torch.device,
) -> dict[str, datasets.Dataset]:
    """
    Put each example through the frozen model once; the same inputs are read from the cache of `datasets` afterwards.

    Args:
        splits: Split name to encoded examples.
        tokenizer: It pads a batch.
        backbone: That of `load_backbone`.
        device: Where the model computes.

    Returns:
        Split name to "features", (input_size,), the mean of the last hidden states over the example's tokens, and
        "label" where there is one.
    """
    weights = [tensor.numpy().tobytes() for tensor in backbone.state_dict().values()]
    software = [transformers.__version__, torch.__version__, device.type]
    key = Hasher.hash([type(backbone).__name__, backbone.config.to_json_string(), *software, *weights])
    embed = _Embed(backbone.to(device), tokenizer)  # pyright: ignore[reportArgumentType]
    return {name: _with_features(examples, embed, key) for name, examples in splits.items()}


@dataclass
class _Embed:
    backbone: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    @torch.no_grad()
    def __call__(self, batch: dict[str, list[Any]]) -> dict[str, Any]:
        inputs = self.tokenizer.pad(batch, return_tensors="pt").to(self.backbone.device)
        states = self.backbone(**inputs).last_hidden_state
        mask = inputs["attention_mask"].unsqueeze(-1).to(states.dtype)
        return {"features": ((states * mask).sum(1) / mask.sum(1)).cpu().numpy()}


def _with_features(examples: datasets.Dataset, embed: _Embed, backbone_key: str) -> datasets.Dataset:
    labels = [name for name in examples.column_names if name == "label"]
    inputs = examples.remove_columns(labels)  # so that other labels of the same texts find the same features
    key = Hasher.hash([backbone_key, *(inputs[name][:] for name in inputs.column_names)])
    cache = Path(datasets.config.HF_DATASETS_CACHE, "hf_vasso_features")
    cache.mkdir(parents=True, exist_ok=True)
    features = inputs.map(
        embed,
        batched=True,
        batch_size=_BATCH_SIZE,
        remove_columns=inputs.column_names,
        cache_file_name=str(cache / f"{key}.arrow"),
        load_from_cache_file=True,
        new_fingerprint=key,
        desc="Computing features",
    )
    if labels:
        features = datasets.concatenate_datasets([features, examples.select_columns(labels)], axis=1)
    return features.with_format("torch")
