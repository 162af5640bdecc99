"""Tiny random models of every architecture that the tests go through, and a byte tokenizer."""

from __future__ import annotations

import copy
from functools import cache, lru_cache
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

import airlens as al

VOCAB = 260
WINDOW = 8
MIXED = ["sliding_attention", "full_attention"]


@lru_cache(maxsize=1)
def tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, <pad>=0, <s>=1, </s>=2."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {"<pad>": 0, "<s>": 1, "</s>": 2} | {c: i + 3 for i, c in enumerate(alphabet)}
    inner = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


SHAPE: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 1024,
}
GROUPED = SHAPE | {"num_key_value_heads": 2}
WIDE = GROUPED | {"head_dim": 8}
FOUR = WIDE | {"num_hidden_layers": 4}
NARROW = {k: v for k, v in SHAPE.items() if k != "intermediate_size"}
GPT = {"vocab_size": VOCAB, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 1024}
SLIDING = {"sliding_window": WINDOW, "layer_types": MIXED}
TWO_EXPERTS = {"num_local_experts": 2, "num_experts_per_tok": 1}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
ROUTED = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LATENT = {
    **(SHAPE | {"num_key_value_heads": 4}),
    **ROUTED,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}
LINEAR = {
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}
MAMBA2 = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_d_state": 8}
RECURRENT = {"vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 2}
SEES = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}
CLIP = SEES | {"model_type": "clip_vision_model", "projection_dim": 32}
LAST = {"image_token_index": VOCAB - 1}

# Configuration class of each, and its settings: two layers of 4 query heads (2 key-value heads
# where the kind has groups), or four layers where two are too few to show the kind.
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2Config", GPT),
    "gpt_neox": ("GPTNeoXConfig", SHAPE),
    "opt": ("OPTConfig", NARROW | {"ffn_dim": 64, "word_embed_proj_dim": 32}),
    "llama": ("LlamaConfig", WIDE),
    "qwen2": ("Qwen2Config", GROUPED),
    "qwen3": ("Qwen3Config", WIDE),
    "gemma2": ("Gemma2Config", WIDE | SLIDING),
    "gemma3": ("Gemma3TextConfig", WIDE | SLIDING),
    "mistral": ("MistralConfig", WIDE | {"sliding_window": WINDOW}),
    "phi3": ("Phi3Config", GROUPED | {"pad_token_id": 0}),
    "olmo2": ("Olmo2Config", GROUPED),
    "falcon": ("FalconConfig", NARROW | {"alibi": False}),
    "falcon_alibi": ("FalconConfig", NARROW | {"alibi": True, "multi_query": False}),
    "bloom": ("BloomConfig", {"vocab_size": VOCAB, "hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "mpt": (
        "MptConfig",
        {"vocab_size": VOCAB, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 1024},
    ),
    "gpt_oss": ("GptOssConfig", WIDE | SLIDING | TWO_EXPERTS),
    # The sweep only.
    "gptj": ("GPTJConfig", GPT | {"rotary_dim": 4}),
    "gpt_neo": (
        "GPTNeoConfig",
        {
            "vocab_size": VOCAB,
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "window_size": WINDOW,
            "max_position_embeddings": 1024,
        },
    ),
    "codegen": ("CodeGenConfig", GPT | {"rotary_dim": 4}),
    "gpt_bigcode": ("GPTBigCodeConfig", GPT),
    "openai-gpt": ("OpenAIGPTConfig", GPT),
    "phi": ("PhiConfig", GROUPED),
    "stablelm": ("StableLmConfig", GROUPED),
    "starcoder2": ("Starcoder2Config", GROUPED | {"sliding_window": WINDOW}),
    "cohere": ("CohereConfig", GROUPED | {"pad_token_id": 0}),
    "cohere2": ("Cohere2Config", WIDE | {"sliding_window": WINDOW, "pad_token_id": 0}),
    "gemma": ("GemmaConfig", WIDE),
    "granite": ("GraniteConfig", GROUPED),
    "granitemoe": ("GraniteMoeConfig", GROUPED | TWO_EXPERTS),
    "mixtral": ("MixtralConfig", WIDE | TWO_EXPERTS),
    "qwen2_moe": ("Qwen2MoeConfig", GROUPED | EXPERTS | {"shared_expert_intermediate_size": 16}),
    "qwen3_moe": ("Qwen3MoeConfig", WIDE | EXPERTS),
    "olmo": ("OlmoConfig", GROUPED | {"pad_token_id": 0}),
    "olmo3": ("Olmo3Config", GROUPED | {"sliding_window": WINDOW}),
    "olmoe": ("OlmoeConfig", GROUPED | {"num_experts": 4, "num_experts_per_tok": 2}),
    "smollm3": ("SmolLM3Config", GROUPED | {"pad_token_id": 0}),
    "seed_oss": ("SeedOssConfig", WIDE),
    "nemotron": ("NemotronConfig", WIDE),
    "glm": ("GlmConfig", WIDE | {"pad_token_id": 0}),
    "glm4": ("Glm4Config", WIDE | {"pad_token_id": 0}),
    "glm4_moe": ("Glm4MoeConfig", WIDE | ROUTED | {"n_shared_experts": 1}),
    "ernie4_5": ("Ernie4_5Config", WIDE),
    "exaone4": ("Exaone4Config", WIDE | {"sliding_window": WINDOW}),
    "apertus": ("ApertusConfig", GROUPED | {"pad_token_id": 0}),
    "arcee": ("ArceeConfig", WIDE),
    "hunyuan": ("HunYuanDenseV1Config", WIDE | {"pad_token_id": 0}),
    "bitnet": ("BitNetConfig", GROUPED | {"pad_token_id": 0}),
    "xglm": (
        "XGLMConfig",
        {
            "vocab_size": VOCAB,
            "d_model": 32,
            "ffn_dim": 64,
            "num_layers": 2,
            "attention_heads": 4,
            "max_position_embeddings": 1024,
        },
    ),
    "minimax_m2": ("MiniMaxM2Config", WIDE | TWO_EXPERTS),
    "ministral3": ("Ministral3Config", WIDE),
    "vaultgemma": ("VaultGemmaConfig", WIDE | {"sliding_window": WINDOW}),
    "modernbert_decoder": (
        "ModernBertDecoderConfig",
        SHAPE
        | {"local_attention": WINDOW, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
        | {"cls_token_id": 1, "sep_token_id": 2},
    ),
    "deepseek_v2": ("DeepseekV2Config", LATENT),
    "deepseek_v3": ("DeepseekV3Config", LATENT),
    "llama4": (
        "Llama4TextConfig",
        WIDE
        | {"num_local_experts": 2, "intermediate_size_mlp": 64, "attention_chunk_size": 16}
        | {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
    ),
    "gemma4": (  # layers differ in the dimensions of a head
        "Gemma4TextConfig",
        FOUR
        | {"sliding_window": WINDOW, "global_head_dim": 16}
        | {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": VOCAB},
    ),
    # Attention in some layers, or beside a recurrence.
    "qwen3_next": (
        "Qwen3NextConfig",
        FOUR | EXPERTS | LINEAR | {"shared_expert_intermediate_size": 16},
    ),
    "qwen3_5": ("Qwen3_5TextConfig", FOUR | LINEAR),
    "lfm2": ("Lfm2Config", GROUPED | {"layer_types": ["full_attention", "conv"]}),
    "jamba": (
        "JambaConfig",
        FOUR
        | {"attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 2}
        | {"mamba_d_state": 8, "mamba_dt_rank": 4, "use_mamba_kernels": False},
    ),
    "bamba": ("BambaConfig", FOUR | MAMBA2 | {"attn_layer_indices": [0, 2]}),
    "falcon_h1": (
        "FalconH1Config",
        WIDE | MAMBA2 | {"mamba_d_ssm": 32, "mamba_n_heads": 4, "pad_token_id": 0},
    ),
    "olmo_hybrid": (
        "OlmoHybridConfig",
        GROUPED | LINEAR | {"num_hidden_layers": 4, "pad_token_id": 0},
    ),
    # No attention, or none that TransformerLens reaches.
    "mamba": ("MambaConfig", RECURRENT | {"state_size": 4}),
    "mamba2": (
        "Mamba2Config",
        RECURRENT | {"state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 1},
    ),
    "falcon_mamba": ("FalconMambaConfig", RECURRENT | {"state_size": 4}),
    "rwkv": ("RwkvConfig", RECURRENT | {"attention_hidden_size": 32, "context_length": 128}),
    "recurrent_gemma": (
        "RecurrentGemmaConfig",
        {k: v for k, v in GROUPED.items() if k != "max_position_embeddings"}
        | {"lru_width": 32, "attention_window_size": 16, "block_types": ["recurrent", "attention"]},
    ),
    "zamba2": (
        "Zamba2Config",
        SHAPE
        | {"num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid"] * 2}
        | {"mamba_ngroups": 1, "n_mamba_heads": 4, "mamba_headdim": 16, "mamba_d_state": 8}
        | {"adapter_rank": 4, "use_mem_eff_path": False, "num_mem_blocks": 1},
    ),
    "nemotron_h": (
        "NemotronHConfig",
        FOUR
        | {"layers_block_type": ["mamba", "attention", "mlp", "attention"]}
        | {"mamba_num_heads": 4, "mamba_head_dim": 8, "ssm_state_size": 8, "n_groups": 1},
    ),
    "jetmoe": (
        "JetMoeConfig",
        RECURRENT
        | {"num_key_value_heads": 2, "kv_channels": 8, "intermediate_size": 64}
        | {"num_local_experts": 4, "num_experts_per_tok": 2},
    ),
    # The text part of models that also see.
    "gemma3_sees": (
        "Gemma3Config",
        {
            "text_config": WIDE | {"sliding_window": WINDOW},
            "vision_config": SEES,
            "mm_tokens_per_image": 4,
            **LAST,
        },
    ),
    "llava": (
        "LlavaConfig",
        {"text_config": WIDE | {"model_type": "llama"}, "vision_config": CLIP, **LAST},
    ),
    "mistral3_sees": (
        "Mistral3Config",
        {
            "text_config": WIDE | {"model_type": "mistral"},
            "vision_config": SEES | {"model_type": "pixtral", "head_dim": 16},
            **LAST,
        },
    ),
    "idefics3": (
        "Idefics3Config",
        {
            "text_config": WIDE | {"model_type": "llama"},
            "vision_config": SEES,
            "scale_factor": 2,
            "image_token_id": VOCAB - 1,
        },
    ),
    # Refused: TransformerLens has no adapter for them, or they are not causal.
    "helium": ("HeliumConfig", WIDE),
    "phimoe": ("PhimoeConfig", GROUPED | TWO_EXPERTS),
    "bert": ("BertConfig", SHAPE),
    "granitemoehybrid": (
        "GraniteMoeHybridConfig",
        GROUPED
        | TWO_EXPERTS
        | MAMBA2
        | {"shared_intermediate_size": 16, "layer_types": ["mamba", "attention"]},
    ),
}


def config(name: str) -> Any:
    """The configuration of that name."""
    kind, settings = CONFIGS[name]
    return getattr(transformers, kind)(**copy.deepcopy(settings))


ARCHITECTURES = (
    "gpt2",
    "gpt_neox",
    "opt",
    "llama",
    "qwen2",
    "qwen3",
    "gemma2",
    "gemma3",
    "mistral",
    "phi3",
    "olmo2",
    "falcon",
    "falcon_alibi",
    "bloom",
    "mpt",
    "gpt_oss",
)


HYBRIDS = ("qwen3_next", "qwen3_5", "lfm2", "jamba", "bamba", "olmo_hybrid")
"""Of which only some layers have attention."""


def hf_model(name: str, seed: int = 0) -> Any:
    """The Hugging Face model, random weights, larger than the default spread so heads differ."""
    torch.manual_seed(seed)
    kind = config(name)
    kind._attn_implementation = "eager"
    sees = hasattr(kind, "vision_config")
    auto = transformers.AutoModelForImageTextToText if sees else AutoModelForCausalLM
    model = auto.from_config(kind).eval()
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if weight.ndim >= 2:
                weight.mul_(4)
            if "sinks" in key:
                weight.normal_()
    return model


@cache
def tiny(name: str, seed: int = 0) -> Any:
    """The same model through the bridge."""
    with torch.inference_mode(False):  # or its weights could take no part in a gradient
        return al.load_model(hf_model(name, seed), tokenizer=tokenizer(), device="cpu")
