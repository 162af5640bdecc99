"""A byte-level tokenizer and a random Llama, for tests of training and evaluation."""

from __future__ import annotations

from typing import Any

import torch
from conftest import tiny_config


def tiny_model() -> Any:
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(tiny_config("llama")).eval()
