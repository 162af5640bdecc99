"""Tiny random multimodal models, whose text part is scored."""

from __future__ import annotations

from typing import Any

import torch
from tiny_zoo import VOCAB

TEXT = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
IMAGE = VOCAB - 1  # stands for an image: in no trace
MIXED = ["sliding_attention", "full_attention"]


def config(name: str) -> Any:
    """The configuration of a tiny model of the kind."""
    import transformers as tf

    if name == "gemma3":
        text = tf.Gemma3TextConfig(**TEXT, head_dim=8, sliding_window=8, layer_types=MIXED)
        vision = tf.SiglipVisionConfig(**VISION)
        return tf.Gemma3Config(
            text_config=text,
            vision_config=vision,
            mm_tokens_per_image=4,
            image_token_index=VOCAB - 1,
        )
    if name == "llava":
        vision = tf.CLIPVisionConfig(**VISION, projection_dim=16)
        return tf.LlavaConfig(
            vision_config=vision, text_config=tf.LlamaConfig(**TEXT), image_token_index=VOCAB - 1
        )
    if name == "qwen2_5_vl":
        vision = {
            "depth": 2,
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_heads": 2,
            "out_hidden_size": 32,
            "patch_size": 14,
            "fullatt_block_indexes": [1],
        }
        rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [1, 1, 2]}
        text = {**TEXT, "rope_parameters": rope}
        return tf.Qwen2_5_VLConfig(text_config=text, vision_config=vision)
    if name == "qwen3_vl":
        vision = {
            "depth": 2,
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_heads": 2,
            "out_hidden_size": 32,
            "patch_size": 14,
            "deepstack_visual_indexes": [0],
            "num_position_embeddings": 4,
        }
        rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 1, 1]}
        text = {**TEXT, "head_dim": 8, "rope_parameters": rope}
        return tf.Qwen3VLConfig(text_config=text, vision_config=vision)
    if name == "mistral3":
        vision = tf.PixtralVisionConfig(**VISION)
        text = tf.MistralConfig(**TEXT, head_dim=8, sliding_window=None)
        return tf.Mistral3Config(
            vision_config=vision, text_config=text, image_token_index=VOCAB - 1
        )
    raise ValueError(name)


KINDS = ("gemma3", "llava", "qwen2_5_vl", "qwen3_vl", "mistral3")


def hf_model(name: str) -> Any:
    from transformers import AutoModelForImageTextToText

    torch.manual_seed(0)
    kind = config(name)
    kind._attn_implementation = "eager"
    model = AutoModelForImageTextToText.from_config(kind).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim >= 2:
                weight.mul_(4)
    return model
