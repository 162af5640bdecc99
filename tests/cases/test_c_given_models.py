"""Models that a caller has in hand: with adapters, quantised, spread, wrapped, or none at all."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_zoo import hf_model, tokenizer
from torch.nn import functional

import airlens as al
from airlens.errors import ConfigError, ModelError

TRACE = al.Trace("t", "ab cd", "efg hij klm nop qrs tuv")
HEADS = "L0H1,L1H2"


def ids(seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, 250, (1, 24), generator=generator)


def logits(model: Any, tokens: torch.Tensor | None = None) -> torch.Tensor:
    with torch.no_grad():
        out = model(ids() if tokens is None else tokens)
    return (out if isinstance(out, torch.Tensor) else out.logits).float()


def load(model: Any, **options: Any) -> Any:
    return al.load_model(model, **{"tokenizer": tokenizer(), "device": "cpu", **options})


def adapted(**config: Any) -> Any:
    """A tiny Llama with an adapter that changes its logits."""
    peft = pytest.importorskip("peft")
    kind = getattr(peft, config.pop("kind", "LoraConfig"))
    config.setdefault("target_modules", ["q_proj", "v_proj", "down_proj"])
    torch.manual_seed(1)
    model = peft.get_peft_model(hf_model("llama"), kind(task_type="CAUSAL_LM", **config))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.eval()


# C6


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"use_dora": True, "modules_to_save": ["lm_head"]},
        {"target_modules": ["q_proj"], "trainable_token_indices": [5, 6]},
        {"kind": "IA3Config", "feedforward_modules": ["down_proj"]},
        {"kind": "LNTuningConfig", "target_modules": ["input_layernorm"]},
    ],
    ids=["lora", "dora and a saved module", "trained tokens", "ia3", "norms"],
)
def test_c6_an_adapter_is_in_the_numbers(config: dict[str, Any]) -> None:
    model = adapted(**config)
    expected, base = logits(model), logits(hf_model("llama"))
    assert (expected - base).abs().max() > 1e-2
    torch.testing.assert_close(logits(load(model)), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(logits(model), expected, atol=0, rtol=0)  # the caller's is the same


def test_c6_the_adapters_in_use_are_merged() -> None:
    model = adapted()
    with model.disable_adapter():
        torch.testing.assert_close(logits(load(model)), logits(hf_model("llama")))
    model.add_adapter("second", copy.deepcopy(model.peft_config["default"]))
    model.set_adapter("second")
    torch.testing.assert_close(logits(load(model)), logits(model), atol=1e-5, rtol=1e-5)


def test_c6_only_the_adapted_weights_are_copied() -> None:
    model = adapted(target_modules=["q_proj"])
    before = {p.data_ptr() for p in model.parameters()}
    bridge = load(model)
    own = [n for n, p in bridge.original_model.named_parameters() if p.data_ptr() not in before]
    assert len(own) == 2  # one of each layer
    assert all("q_proj" in name for name in own)


@pytest.mark.parametrize("kind", ["PromptTuningConfig", "PrefixTuningConfig"])
def test_c6_learnt_prompts_are_refused(kind: str) -> None:
    peft = pytest.importorskip("peft")
    config = getattr(peft, kind)(num_virtual_tokens=3, task_type="CAUSAL_LM")
    with pytest.raises(ModelError, match="learnt prompts"):
        load(peft.get_peft_model(hf_model("llama"), config))


def test_c6_an_adapter_inside_a_plain_model_is_named() -> None:
    peft = pytest.importorskip("peft")
    model = hf_model("llama")
    model.add_adapter(peft.LoraConfig(target_modules=["q_proj"]))
    with pytest.raises(ModelError, match="merge_and_unload"):
        load(model)


# C7


class Int8Linear(torch.nn.Linear):
    """What quantisers leave: int8 weights that only their own forward understands."""

    def __init__(self, source: torch.nn.Linear) -> None:
        super().__init__(source.in_features, source.out_features, bias=False)
        self.scale = source.weight.detach().abs().amax(dim=1, keepdim=True) / 127
        whole = (source.weight.detach() / self.scale).round().to(torch.int8)
        self.weight = torch.nn.Parameter(whole, requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, self.weight.to(x.dtype) * self.scale)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        raise AssertionError("a quantised layer was cast or moved")


def quantised() -> Any:
    model = hf_model("llama")
    for layer in model.model.layers:
        for parent in (layer.self_attn, layer.mlp):
            for name, child in list(parent.named_children()):
                if isinstance(child, torch.nn.Linear):
                    setattr(parent, name, Int8Linear(child))
    return model


def check_as_it_is(model: Any, bridge: Any, expected: torch.Tensor) -> None:
    """Its own logits, and the engine chosen gives the numbers of the hooks, in every mode."""
    torch.testing.assert_close(logits(bridge), expected, atol=1e-4, rtol=1e-4)
    for mode in ("uniform", "zero", "mean"):
        slow, auto = (
            al.influence(bridge, TRACE, HEADS, controls=0, progress=False, engine=e, mode=mode)
            for e in ("hooks", "auto")
        )
        assert float(auto.samples["loss_ref"].iloc[0]) == pytest.approx(
            float(slow.samples["loss_ref"].iloc[0]), rel=1e-4
        )


@pytest.mark.parametrize("said", [True, False], ids=["is_quantized", "int8 tensors alone"])
def test_c7_a_quantised_model_is_left_as_it_is(said: bool) -> None:
    model = quantised()
    if said:
        model.is_quantized = True
        model.config.quantization_config = {"quant_method": "gptq", "bits": 8}
    expected = logits(model)
    kept = {p.data_ptr(): p.dtype for p in model.parameters()}
    bridge = load(model, dtype="bfloat16")
    assert {p.data_ptr(): p.dtype for p in bridge.original_model.parameters()} == kept
    check_as_it_is(model, bridge, expected)


@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 4])
def test_c7_bitsandbytes(tmp_path: Path, bits: int) -> None:
    pytest.importorskip("bitsandbytes")
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig

    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    size = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    plain = AutoModelForCausalLM.from_config(
        LlamaConfig(vocab_size=260, num_attention_heads=4, num_key_value_heads=2, **size)
    )
    plain.save_pretrained(tmp_path)
    how = BitsAndBytesConfig(load_in_8bit=bits == 8, load_in_4bit=bits == 4)
    model = AutoModelForCausalLM.from_pretrained(
        tmp_path, quantization_config=how, device_map="cpu", dtype=torch.float32
    )
    check_as_it_is(model, load(model), logits(model))


OFFLOADED = {
    "model.embed_tokens": "cpu",
    "model.layers.0": "cpu",
    "model.layers.1": "disk",
    "model.norm": "cpu",
    "model.rotary_emb": "cpu",
    "lm_head": "cpu",
}


def saved(folder: Path) -> tuple[Path, torch.Tensor]:
    model = hf_model("llama")
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder, logits(model)


@pytest.mark.parametrize("how", ["device_map", "cpu_offload", "disk_offload"])
def test_c7_an_offloaded_model_is_left_as_it_is(tmp_path: Path, how: str) -> None:
    import accelerate
    from transformers import AutoModelForCausalLM

    folder, expected = saved(tmp_path / "model")
    options: dict[str, Any] = {}
    if how == "device_map":
        options = {"device_map": OFFLOADED, "offload_folder": tmp_path / "off"}
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options)
    if how == "cpu_offload":
        accelerate.cpu_offload(model, execution_device="cpu")
    if how == "disk_offload":
        accelerate.disk_offload(model, tmp_path / "off", execution_device="cpu")
    bridge = load(model)
    assert any(p.is_meta for p in bridge.original_model.parameters())
    torch.testing.assert_close(logits(bridge), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("wrap", ["DataParallel", "compile"])
def test_c7_wrappers_that_change_no_number_are_taken_off(wrap: str) -> None:
    model = hf_model("llama")
    wrapped = torch.nn.DataParallel(model) if wrap == "DataParallel" else torch.compile(model)
    torch.testing.assert_close(logits(load(wrapped)), logits(model))


def test_c7_sharded_weights_are_refused() -> None:
    model = hf_model("llama")
    kind = type("FSDPLlama", (type(model), type("FSDPModule", (), {})), {})
    model.__class__ = kind
    with pytest.raises(ModelError, match="sharded over processes"):
        load(model)


# What is no such model: one sentence each.


def others() -> dict[str, tuple[Any, str]]:
    from transformers import (
        BertConfig,
        BertForMaskedLM,
        LlamaForSequenceClassification,
        T5Config,
        T5ForConditionalGeneration,
        pipeline,
    )

    model = hf_model("llama")
    bert = BertConfig(
        vocab_size=260,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
    )
    t5 = T5Config(vocab_size=260, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
    engine = type("LLM", (), {})()
    hooked = type("HookedTransformer", (torch.nn.Module,), {})()
    pipe = pipeline("text-generation", model=model, tokenizer=tokenizer())
    return {
        "class": (type(model), r"is a class.*from_pretrained"),
        "bridge": (load(model), "TransformerBridge already"),
        "hooked": (hooked, "replaced by TransformerBridge"),
        "pipeline": (pipe, r"pipe\.model, tokenizer=pipe\.tokenizer"),
        "vllm": (engine, "no Hugging Face model"),
        "number": (3, "no Hugging Face model"),
        "module": (torch.nn.Linear(2, 2), "no config"),
        "no head": (model.model, "no language-model head"),
        "classifier": (LlamaForSequenceClassification(model.config), "no language-model head"),
        "encoder": (BertForMaskedLM(bert), "not causal"),
        "encoder-decoder": (T5ForConditionalGeneration(t5), "encoder-decoder"),
    }


@pytest.mark.parametrize(
    "what",
    [
        "class",
        "bridge",
        "hooked",
        "pipeline",
        "vllm",
        "number",
        "module",
        "no head",
        "classifier",
        "encoder",
        "encoder-decoder",
    ],
)
def test_c7_what_is_no_causal_model_is_named(what: str) -> None:
    thing, said = others()[what]
    with pytest.raises(ModelError, match=said):
        load(thing)


# Tokenizers in hand


def test_c6_a_tokenizer_by_name_and_of_a_processor(tmp_path: Path) -> None:
    tokenizer().save_pretrained(tmp_path)
    model = hf_model("llama")
    processor = type("Processor", (), {"tokenizer": tokenizer()})()
    for given in (str(tmp_path), tmp_path, tmp_path / "tokenizer.json", processor):
        bridge = load(model, tokenizer=given)
        assert bridge.tokenizer("ab")["input_ids"] == tokenizer()("ab")["input_ids"]


@pytest.mark.parametrize("what", ["raw", "class", "number"])
def test_c6_what_is_no_tokenizer_is_named(what: str) -> None:
    given = {"raw": tokenizer().backend_tokenizer, "class": type(tokenizer()), "number": 3}[what]
    with pytest.raises(ModelError, match="no tokenizer of transformers"):
        load(hf_model("llama"), tokenizer=given)


def test_c6_a_slow_tokenizer_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    slow = copy.deepcopy(tokenizer())
    slow.__class__ = type("Slow", (type(slow),), {"is_fast": property(lambda self: False)})
    load(hf_model("llama"), tokenizer=slow)
    assert "slow tokenizer" in caplog.text


# C13


def test_c13_the_callers_model_still_trains_and_saves(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model, own = hf_model("llama").train(), tokenizer()
    state = {name: id(module) for name, module in model.named_modules()}
    config, init, pad = model.config.to_dict(), dict(own.init_kwargs), own.pad_token
    bridge = load(model)
    assert {name: id(module) for name, module in model.named_modules()} == state
    assert model.config.to_dict() == config
    assert (own.init_kwargs, own.pad_token) == (init, pad)
    assert model.training
    assert all(p.requires_grad for p in model.parameters())
    assert not any(p.requires_grad for p in bridge.parameters())
    before = logits(bridge)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(ids(), labels=ids()).loss.backward()
    optimizer.step()
    model.save_pretrained(tmp_path)
    again = logits(AutoModelForCausalLM.from_pretrained(tmp_path).eval())
    torch.testing.assert_close(logits(model.eval()), again, atol=1e-5, rtol=1e-5)
    # The bridge has the same weights, so it follows.
    torch.testing.assert_close(logits(bridge), again, atol=1e-5, rtol=1e-5)
    assert (before - again).abs().max() > 1e-2


def test_c13_another_dtype_is_a_copy() -> None:
    model = hf_model("llama").to(torch.bfloat16)
    bridge = load(model, dtype="float32")
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in bridge.original_model.parameters()} == {torch.float32}


def test_c13_rotary_frequencies_are_not_rounded() -> None:
    """As with from_pretrained(dtype=…), and unlike model.to(dtype)."""
    bridge = load(hf_model("llama"), dtype="bfloat16")
    tables = [b for n, b in bridge.original_model.named_buffers() if "inv_freq" in n]
    assert tables and all(table.dtype == torch.float32 for table in tables)


def test_c13_hooks_of_the_caller_still_run() -> None:
    model, seen = hf_model("llama"), []
    model.model.layers[0].register_forward_hook(lambda *_: seen.append("before"))
    bridge = load(model)
    model.model.layers[1].register_forward_hook(lambda *_: seen.append("after"))
    seen.clear()
    logits(bridge)
    assert seen == ["before", "after"]


def test_c13_loading_under_inference_mode_leaves_gradients_possible() -> None:
    with torch.inference_mode():
        bridge = load(hf_model("llama"))
    with torch.enable_grad():
        hook = ("blocks.0.hook_in", lambda x, hook: x.detach().requires_grad_(True))
        with bridge.hooks(fwd_hooks=[hook]):
            bridge(ids()).sum().backward()


# Where the model lies, and how long its texts are


def test_c7_placement_is_handed_on(tmp_path: Path) -> None:
    folder, expected = saved(tmp_path)
    for options in (
        {"device_map": "cpu"},
        {"device_map": "auto"},
        {"device_map": OFFLOADED},
        {"n_devices": 1},
        {"max_memory": {"cpu": "1GiB"}},
    ):
        bridge = al.load_model(folder, **options)  # type: ignore[arg-type]
        torch.testing.assert_close(logits(bridge), expected, atol=1e-5, rtol=1e-5)
        assert bridge.cfg.device == "cpu" or torch.cuda.is_available()


def test_c7_placement_that_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    folder, _ = saved(tmp_path)
    n = torch.cuda.device_count() + 1
    for options, said in (
        ({"n_devices": max(n, 2)}, r"n_devices=\d+"),
        ({"device_map": "cpu", "device": "cpu"}, "mutually exclusive"),
    ):
        with pytest.raises(ConfigError, match=said):
            al.load_model(folder, **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="from_pretrained"):
        load(hf_model("llama"), device=None, device_map="cpu")


def test_c7_n_ctx() -> None:
    assert load(hf_model("llama"), n_ctx=64).cfg.n_ctx == 64
    assert load(hf_model("llama"), n_ctx=2048).cfg.n_ctx == 2048
    bridge, short = load(hf_model("llama")), load(hf_model("llama"), n_ctx=16)
    found = [al.influence(b, TRACE, HEADS, controls=0, progress=False) for b in (bridge, short)]
    assert int(found[1].samples["n_tokens"].iloc[0]) == int(found[0].samples["n_tokens"].iloc[0])
    with pytest.raises(ConfigError, match="learnt 1024 positions"):
        load(hf_model("gpt2"), n_ctx=2048)
    with pytest.raises(ConfigError, match="two tokens"):
        load(hf_model("llama"), n_ctx=1)


# F3


@pytest.mark.parametrize("device", ["cuda:99", "mps", "gpu", "meta", "cpu:x", 3.5])
def test_f3_a_device_that_is_not_there(device: Any) -> None:
    if device == "mps" and torch.backends.mps.is_available():
        pytest.skip("there is one")
    with pytest.raises(ModelError, match=rf"device '{device}' cannot be used.*has: cpu") as caught:
        load(hf_model("llama"), device=device)
    assert len(str(caught.value)) < 250


def test_f3_cuda_on_a_cpu_build() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ModelError, match="device 'cuda' cannot be used here"):
        load(hf_model("llama"), device="cuda")
