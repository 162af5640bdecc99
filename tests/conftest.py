"""Models for tests: tiny random ones of any architecture, and SmolLM2 where a test needs it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# A busy machine is no failure, and the same commit gives the same verdict: a red run can be
# repeated. `make fuzz` looks for new examples.
settings.register_profile("airlens", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=500)
settings.load_profile("airlens")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

N_LAYERS, N_HEADS, VOCAB = 3, 4, 260


@pytest.fixture(autouse=True)
def _seeded() -> None:
    import torch

    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """Byte-level: one token a byte, so tokens and characters are easy to reason about."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = ["<pad>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tok = Tokenizer(models.BPE(vocab={n: i for i, n in enumerate(names)}, merges=[]))
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tok.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tok, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


def word_tokenizer(size: int) -> Any:
    """Byte-level BPE learnt from the bundled sentences: ``size`` tokens, parts of words."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from airlens.files import sentences

    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tok.train_from_iterator(sentences(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tok, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


def tiny_config(kind: str, **changes: Any) -> Any:
    """A random-weight configuration of 3 layers and 4 heads (2 key-value heads where grouped)."""
    import transformers as tf

    common: dict[str, Any] = {
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": N_LAYERS,
        "num_attention_heads": N_HEADS,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    if kind == "gpt2":
        sizes = {"n_embd": 32, "n_layer": N_LAYERS, "n_head": N_HEADS, "n_positions": 512}
        return tf.GPT2Config(vocab_size=VOCAB, bos_token_id=1, eos_token_id=2, **sizes, **changes)
    if kind == "llama":
        return tf.LlamaConfig(**{**common, **changes})
    if kind == "qwen3":
        return tf.Qwen3Config(**{**common, "head_dim": 8, **changes})
    raise ValueError(kind)


@pytest.fixture(scope="session")
def make_model(tokenizer: Any) -> Callable[..., Any]:
    """``make_model("llama")`` → a bridge; weights are larger than usual so that heads matter."""

    def build(kind: str, seed: int = 0, **changes: Any) -> Any:
        import torch
        from transformers import AutoModelForCausalLM

        import airlens as al

        torch.manual_seed(seed)
        hf = AutoModelForCausalLM.from_config(tiny_config(kind, **changes))
        with torch.no_grad():
            for name, parameter in hf.named_parameters():
                if parameter.ndim > 1 and "embed" not in name:
                    parameter.mul_(4)
        return al.load_model(hf, tokenizer=tokenizer, device="cpu")

    return build


@pytest.fixture(scope="session")
def llama(make_model: Callable[..., Any]) -> Any:
    """A tiny random Llama with grouped-query attention; tests must not change it."""
    return make_model("llama")


@pytest.fixture(scope="session")
def smollm2() -> Any:
    """The default model; only tests marked slow use it."""
    import airlens as al

    return al.load_model()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder that AIRLENS_DATA names; skipped where it is unset."""
    folder = os.environ.get("AIRLENS_DATA")
    if not folder:
        pytest.skip("AIRLENS_DATA names no folder with GSM8K and labelled traces")
    return Path(folder)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT as a terminal has it: what a script starts with ``&`` ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
