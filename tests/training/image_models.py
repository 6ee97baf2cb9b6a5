"""Tiny random models of images, and data for them."""

from typing import Any

import torch
from tiny_training import Examples
from torch import nn
from transformers import (
    BeitConfig,
    BeitForSemanticSegmentation,
    CLIPConfig,
    CLIPModel,
    ConvNextConfig,
    DetrConfig,
    DetrForObjectDetection,
    DPTConfig,
    DPTForSemanticSegmentation,
    PreTrainedModel,
    ResNetConfig,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    UperNetConfig,
    UperNetForSemanticSegmentation,
)

__all__ = ["IGNORED_PIXEL", "SEGMENTERS", "clip", "detections", "detr", "pictures", "segmented"]

IGNORED_PIXEL = 255
SIDE = 16
CLASSES = 5

TRANSFORMER = {"hidden_size": 8, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 8}


def pictures(count: int) -> Examples:
    """Pictures whose pixels have labels, in other shares of each, and of every fourth none."""
    generator = torch.Generator().manual_seed(0)
    examples = []
    for index in range(count):
        labels = torch.randint(CLASSES, (SIDE, SIDE), generator=generator)
        labels[: SIDE - 5 * (index % 4)] = IGNORED_PIXEL
        pixels = torch.randn(3, SIDE, SIDE, generator=generator).double()
        examples.append({"pixel_values": pixels, "labels": labels})
    return examples


def segformer() -> PreTrainedModel:
    stages = {"depths": [1, 1], "hidden_sizes": [8, 16], "sr_ratios": [2, 1], "patch_sizes": [3, 3], "strides": [2, 2]}
    config = SegformerConfig(
        **stages,
        num_encoder_blocks=2,
        num_attention_heads=[1, 2],
        mlp_ratios=[2, 2],
        decoder_hidden_size=8,
        drop_path_rate=0.0,
        num_labels=CLASSES,
    )
    return SegformerForSemanticSegmentation(config)


def beit() -> PreTrainedModel:
    config = BeitConfig(
        **TRANSFORMER,
        drop_path_rate=0.0,
        image_size=SIDE,
        patch_size=4,
        out_indices=[1, 2, 3, 4],
        pool_scales=[1, 2],
        num_labels=CLASSES,
    )
    return BeitForSemanticSegmentation(config)


def dpt() -> PreTrainedModel:
    config = DPTConfig(
        **TRANSFORMER,
        image_size=SIDE,
        patch_size=4,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8] * 4,
        fusion_hidden_size=8,
        num_labels=CLASSES,
    )
    return DPTForSemanticSegmentation(config)


def upernet() -> PreTrainedModel:
    stages = ["stage1", "stage2", "stage3", "stage4"]
    backbone = ConvNextConfig(hidden_sizes=[8] * 4, depths=[1] * 4, num_stages=4, patch_size=2, out_features=stages)
    config = UperNetConfig(
        backbone_config=backbone,
        hidden_size=8,
        pool_scales=[1, 2],
        auxiliary_channels=8,
        auxiliary_in_channels=8,
        num_labels=CLASSES,
    )
    return UperNetForSemanticSegmentation(config)


SEGMENTERS = {"segformer": segformer, "beit": beit, "dpt": dpt, "upernet": upernet}


def segmented(kind: str) -> PreTrainedModel:
    """A segmentation in float64 whose examples do not depend on each other: without BatchNorm, nor dropout."""
    torch.manual_seed(0)
    model: Any = SEGMENTERS[kind]().double()
    for module in list(model.modules()):
        for name, part in module.named_children():
            if isinstance(part, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
            elif isinstance(part, nn.Dropout):
                part.p = 0.0
    return model


def clip() -> PreTrainedModel:
    """Texts and pictures that belong together."""
    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    tokens = {"vocab_size": 32, "max_position_embeddings": 10, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    text, vision = small | tokens, small | {"image_size": SIDE, "patch_size": 8}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).double()


def detr() -> PreTrainedModel:
    """Finds things, in fp32, as its loss has tensors of its own."""
    torch.manual_seed(0)
    backbone = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], layer_type="basic", out_features=["stage2"]
    )
    sizes = {f"{side}_{name}": size for side in ("encoder", "decoder") for name, size in SIZES_OF_A_SIDE.items()}
    return DetrForObjectDetection(
        DetrConfig(backbone_config=backbone, d_model=16, num_queries=4, num_labels=3, **sizes)
    )


SIZES_OF_A_SIDE = {"layers": 1, "attention_heads": 2, "ffn_dim": 16}


def detections(count: int) -> Examples:
    """Pictures of one thing each."""
    generator = torch.Generator().manual_seed(0)
    return [
        {
            "pixel_values": torch.randn(3, 32, 32, generator=generator),
            "labels": {"class_labels": torch.tensor([index % 3]), "boxes": torch.rand(1, 4, generator=generator) / 2},
        }
        for index in range(count)
    ]
