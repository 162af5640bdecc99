"""C5, C9, C10, C11: modes, contexts, hooks and threads around a call."""

from __future__ import annotations

import copy
import functools
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_zoo import ARCHITECTURES, hf_model, tokenizer
from torch import nn
from torch.nn.utils import parametrize, prune

import airlens as al
from airlens.errors import ModelError
from airlens.losses.choice import choose_engine
from airlens.model.copies import diverged
from airlens.model.state import state_of
from airlens.traces.encoding import encode_trace

TRACES = [al.Trace("a", "b", "cde fgh"), al.Trace("c", "d", "ij klm nop")]
COLUMNS = ["nll_base", "nll_ref", "nll_control", "entropy"]


def bridge(model: Any, **options: Any) -> Any:
    return al.load_model(model, tokenizer=tokenizer(), device="cpu", **options)


def score(model: Any, **options: Any) -> pd.DataFrame:
    options = {"mode": "uniform", "progress": False} | options
    return al.influence(model, TRACES, "L0H1, L1H2", **options).tokens[COLUMNS]


def by_hand(model: Any, trace: al.Trace) -> np.ndarray:
    """NLL of the response by a Hugging Face model as it is, with whatever hooks it has."""
    prompt, response = (tokenizer()(text)["input_ids"] for text in (trace.prompt, trace.response))
    encoded = encode_trace(tokenizer(), trace, "plain")
    ids = torch.tensor([encoded.tokens])
    assert encoded.tokens[-len(response) :] == response and prompt
    with torch.no_grad():
        logp = model(ids).logits[0].float().log_softmax(-1)
    nll = -logp[:-1].gather(-1, ids[0, 1:, None])[:, 0]
    return np.asarray(nll[-len(response) :].numpy())


def base(model: Any, **options: Any) -> np.ndarray:
    return score(model, template="plain", **options)["nll_base"].to_numpy()


def expected(model: Any) -> np.ndarray:
    return np.concatenate([by_hand(model, trace) for trace in TRACES])


# C5


def dropping(kind: str) -> Any:
    model = hf_model(kind)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.5
        if hasattr(module, "attention_dropout") and isinstance(module.attention_dropout, float):
            module.attention_dropout = 0.5
    return model


@pytest.mark.parametrize("engine", ["hooks", "auto"])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_c5_training_mode_changes_no_number_and_comes_back(kind: str, engine: Any) -> None:
    model = bridge(dropping(kind))
    model.train()
    layers = model.original_model.base_model
    odd = next(m for m in layers.modules() if isinstance(m, nn.Dropout | nn.ModuleList))
    odd.training = False  # a submodule with a mode of its own
    before = {id(m): m.training for m in [*model.modules(), *model.original_model.modules()]}
    first = score(model, engine=engine)
    pd.testing.assert_frame_equal(first, score(model, engine=engine))
    after = {id(m): m.training for m in [*model.modules(), *model.original_model.modules()]}
    assert before == after
    still = bridge(dropping(kind))
    np.testing.assert_allclose(first, score(still, engine="hooks"), atol=2e-5)


def test_c5_other_numbers_too() -> None:
    from airlens.detectors.induction import repeated_ids

    probes = repeated_ids(list(range(3, 200)), 2, 12, seed=0)
    model, still = bridge(dropping("llama")), bridge(dropping("llama"))
    model.train()
    for run in (
        lambda m: al.retrieval_scores(m, probes, engine="hooks", progress=False).scores,
        lambda m: al.copy_accuracy(m, probes, engine="hooks").nll,
        lambda m: al.mean_z(m, ["some text"]).numpy(),
        lambda m: al.sources(m, TRACES, "L1H1", engine="hooks", progress=False).pairs["attention"],
        lambda m: al.head_influence(m, TRACES, "attribution", progress=False).scores,
        lambda m: al.detect(m, probes, "attribution", progress=False).scores,
    ):
        np.testing.assert_allclose(run(model), run(still), atol=2e-5)
    assert model.training


# C9


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def rounded_products() -> Iterator[None]:
    torch.set_float32_matmul_precision("medium")
    try:
        yield
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


@contextmanager
def rounded_by_the_newer_setting() -> Iterator[None]:
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    try:
        yield
        assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"  # as the user left it
    finally:
        torch.set_float32_matmul_precision("highest")


AROUND: dict[str, Callable[[], Any]] = {
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "enable_grad": torch.enable_grad,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "float64": lambda: default_dtype(torch.float64),
    "meta": lambda: torch.device("meta"),
    "medium": rounded_products,
    "mkldnn": rounded_by_the_newer_setting,
}


@pytest.mark.parametrize("engine", ["hooks", "fast"])
@pytest.mark.parametrize("around", AROUND)
def test_c9_what_is_around_a_call_changes_no_number(around: str, engine: Any) -> None:
    plain, ready = bridge(hf_model("llama")), hf_model("llama")
    expected = {mode: score(plain, mode=mode, engine=engine) for mode in ("uniform", "mean")}
    with AROUND[around]():
        model = bridge(ready)  # also loaded inside, and first scored there
        for mode, frame in expected.items():
            found = score(model, mode=mode, engine=engine)
            pd.testing.assert_frame_equal(found, frame, rtol=1e-6)
        assert choose_engine(model, "auto") == "fast"


def test_c9_gradients_in_inference_mode() -> None:
    with torch.inference_mode():
        model = bridge(hf_model("llama"))  # also made inside
        found = al.head_influence(model, TRACES, "attribution", progress=False).scores
    outside = al.head_influence(bridge(hf_model("llama")), TRACES, "attribution", progress=False)
    np.testing.assert_allclose(found, outside.scores, atol=1e-6)


def test_c9_weights_that_can_have_no_gradient_are_named() -> None:
    """A bridge made by TransformerLens itself, under inference mode."""
    from transformer_lens.model_bridge import TransformerBridge

    with torch.inference_mode():
        known = copy.deepcopy(tokenizer())
        known.init_kwargs.update(name_or_path="tiny", add_bos_token=True)
        model = TransformerBridge.boot_transformers(
            "tiny", hf_model=hf_model("llama"), tokenizer=known, device="cpu"
        )
        np.testing.assert_allclose(score(model), score(bridge(hf_model("llama"))), atol=2e-5)
        with pytest.raises(ModelError, match="inference_mode"):
            al.head_influence(model, TRACES, "attribution", progress=False)


# C10


def double(module: nn.Module, args: Any, out: Any) -> Any:
    return (out[0] * 1.5, *out[1:]) if isinstance(out, tuple) else out * 1.5


def shift(module: nn.Module, args: Any) -> Any:
    return (args[0] + 0.5, *args[1:])


class Doubled(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * 1.5


def own_forward(layer: nn.Module) -> None:
    kept = layer.forward

    @functools.wraps(kept)  # looks like transformers' own
    def forward(x: torch.Tensor) -> torch.Tensor:
        return kept(x) * 1.5

    layer.forward = forward  # type: ignore[method-assign]


ATTACH: dict[str, Callable[[Any], Any]] = {
    "hook on a layer": lambda m: m.model.layers[0].register_forward_hook(double),
    "pre-hook on an MLP": lambda m: m.model.layers[1].mlp.register_forward_pre_hook(shift),
    "hook on a norm": lambda m: m.model.norm.register_forward_hook(double),
    "hook on the head": lambda m: m.lm_head.register_forward_hook(double),
    "hook on a projection": lambda m: m.model.layers[0].self_attn.v_proj.register_forward_hook(
        double
    ),
    "parametrization": lambda m: parametrize.register_parametrization(
        m.model.layers[0].mlp.up_proj, "weight", Doubled()
    ),
    "pruning": lambda m: prune.l1_unstructured(m.model.layers[0].mlp.up_proj, "weight", 0.5),
    "own forward": lambda m: own_forward(m.model.layers[0].mlp.down_proj),
}


@pytest.mark.parametrize("attach", ATTACH)
def test_c10_what_a_user_attached_before_is_honoured(attach: str, caplog: Any) -> None:
    model = hf_model("llama")
    ATTACH[attach](model)
    wrapped = bridge(model)
    plain = hf_model("llama")
    assert np.abs(expected(plain) - expected(model)).max() > 1e-3
    with caplog.at_level(logging.WARNING):
        found = base(wrapped)
    np.testing.assert_allclose(found, expected(model), atol=5e-5)
    assert choose_engine(wrapped, "auto") == "hooks"
    with pytest.raises(ModelError):
        score(wrapped, engine="fast")
    score(wrapped)
    assert sum("hooks engine" in line.message for line in caplog.records) == 1


AFTER = ["hook on a layer", "pre-hook on an MLP", "hook on a norm", "hook on the head"]


@pytest.mark.parametrize("attach", [*AFTER, "hook on a projection"])
def test_c10_what_a_user_attaches_later_is_honoured(attach: str) -> None:
    model = hf_model("llama")
    wrapped = bridge(model)
    before = base(wrapped)
    assert choose_engine(wrapped, "auto") == "fast"
    handle = ATTACH[attach](model)
    np.testing.assert_allclose(base(wrapped), expected(model), atol=5e-5)
    with pytest.raises(ModelError, match="hooks are attached"):
        score(wrapped, engine="fast")
    handle.remove()
    np.testing.assert_array_equal(base(wrapped), before)


@pytest.mark.parametrize("engine", ["hooks", "auto", "fast"])
def test_c10_a_hook_that_would_never_run_is_refused(engine: Any) -> None:
    model = hf_model("llama")
    calls: list[int] = []
    model.model.layers[1].self_attn.register_forward_hook(lambda *_: calls.append(1))
    model.model.layers[0].mlp.register_forward_hook(lambda *_: calls.append(2))
    wrapped = bridge(model)
    calls.clear()
    with pytest.raises(ModelError, match=r"layers\.1\.self_attn never takes effect"):
        score(wrapped, engine=engine)
    assert not calls  # nothing of the user's runs in the check


def test_c10_a_hook_on_a_fused_weight_that_is_split_is_refused() -> None:
    model = hf_model("gpt_neox")
    wrapped = bridge(model)
    model.gpt_neox.layers[0].attention.query_key_value.register_forward_hook(double)
    with pytest.raises(ModelError, match="never takes effect"):
        score(wrapped)


def test_c10_hooks_on_hook_points_and_on_components() -> None:
    wrapped = bridge(hf_model("llama"))
    plain = base(wrapped)
    with wrapped.hooks(fwd_hooks=[("blocks.0.hook_out", lambda x, hook: x * 1.5)]):
        steered = base(wrapped)
        with pytest.raises(ModelError, match=r"blocks\.0\.hook_out"):
            score(wrapped, engine="fast")
    assert np.abs(steered - plain).max() > 1e-3
    wrapped.add_perma_hook("blocks.0.hook_out", lambda x, hook: x * 1.5)
    np.testing.assert_array_equal(base(wrapped), steered)
    wrapped.reset_hooks(including_permanent=True)
    handle = wrapped.blocks[0].register_forward_hook(double)
    np.testing.assert_allclose(base(wrapped), steered, atol=2e-5)
    handle.remove()
    np.testing.assert_array_equal(base(wrapped), plain)
    glob = nn.modules.module.register_module_forward_hook(lambda *_: None)
    assert choose_engine(wrapped, "auto") == "hooks"
    glob.remove()
    assert choose_engine(wrapped, "auto") == "fast"


def test_c10_a_replaced_module_or_setting_is_not_passed_over() -> None:
    wrapped = bridge(hf_model("llama"))
    before = base(wrapped)
    assert choose_engine(wrapped, "auto") == "fast"
    attention = wrapped.blocks[0].attn.original_component
    attention.scaling *= 2  # sharper attention: the bridge reads it
    sharper = base(wrapped)
    assert choose_engine(wrapped, "auto") == "hooks"
    assert np.abs(sharper - before).max() > 1e-4
    np.testing.assert_array_equal(sharper, base(wrapped, engine="hooks"))
    attention.scaling /= 2
    assert choose_engine(wrapped, "auto") == "fast"


def test_c10_an_ablated_block_around_the_call_counts() -> None:
    wrapped = bridge(hf_model("llama"))
    with al.ablated(wrapped, "L0H3"):
        inside = base(wrapped)
        with torch.no_grad():
            ids = torch.tensor([encode_trace(tokenizer(), TRACES[0], "plain").tokens])
            logp = wrapped(ids)[0].log_softmax(-1)
    nll = -logp[:-1].gather(-1, ids[0, 1:, None])[:, 0].numpy()
    n = len(tokenizer()(TRACES[0].response)["input_ids"])
    np.testing.assert_allclose(inside[:n], nll[-n:], atol=2e-5)


def test_c10_plain_hooks_of_an_ablation_count_beside_a_block() -> None:
    wrapped = bridge(hf_model("llama"))
    from airlens.detectors.induction import repeated_ids

    probes = repeated_ids(list(range(3, 200)), 2, 12, seed=0)
    hooks = al.ablation_hooks(wrapped, "L0H1", "zero")
    with wrapped.hooks(fwd_hooks=hooks), al.ablated(wrapped, "L1H2", "zero"):
        found = al.copy_accuracy(wrapped, probes).nll
    with al.ablated(wrapped, "L0H1, L1H2", "zero"):
        assert found == pytest.approx(al.copy_accuracy(wrapped, probes).nll, abs=1e-5)


# In-place changes reach what TransformerLens computes with


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox", "phi3", "bloom", "falcon", "mpt", "llama"])
@pytest.mark.parametrize("how", ["in place", "behind torch"])
def test_c4_new_weights_of_the_callers_model_are_scored(kind: str, how: str) -> None:
    model = hf_model(kind)
    wrapped = bridge(model)
    base(wrapped)
    with torch.no_grad():
        for weight in model.parameters():
            (weight if how == "in place" else weight.data).mul_(1.1)
    np.testing.assert_allclose(base(wrapped), expected(model), atol=1e-4)


def test_c4_new_tensors_of_the_callers_model_are_spoken_of(caplog: Any) -> None:
    model = hf_model("llama")
    wrapped = bridge(model)
    before = base(wrapped)
    assert "new tensors" not in caplog.text
    for weight in model.parameters():
        weight.data = weight.data * 1.1
    np.testing.assert_array_equal(base(wrapped), before)
    score(wrapped)
    assert caplog.text.count("new tensors") == 1


# C11


def test_c11_threads_take_turns() -> None:
    model = bridge(hf_model("llama"))
    engines = {"zero": "hooks", "uniform": "fast"}
    alone = {mode: score(model, mode=mode, engine=engine) for mode, engine in engines.items()}
    ids = torch.tensor([[5, 6, 7, 8]])
    greedy = {"max_new_tokens": 4, "do_sample": False, "verbose": False, "return_type": "tokens"}
    with al.ablated(model, "L0H1", "zero"):
        written = model.generate(ids, **greedy)
    wrong: list[str] = []

    def work(mode: str) -> None:
        for _ in range(3):
            if not score(model, mode=mode, engine=engines[mode]).equals(alone[mode]):
                wrong.append(mode)

    def write() -> None:
        for _ in range(3):
            with al.ablated(model, "L0H1", "zero"):
                found = model.generate(ids, **greedy)
            if not torch.equal(found, written):
                wrong.append("generate")

    def guarded(run: Callable[[], None]) -> None:
        try:
            run()
        except Exception as error:
            wrong.append(repr(error))

    jobs = [lambda: work("zero"), lambda: work("uniform"), write, write]
    threads = [threading.Thread(target=guarded, args=[job]) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_c11_who_waits_says_so(caplog: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("airlens.model.state.PATIENCE", 0.01)
    model = bridge(hf_model("llama"))
    done: list[int] = []
    with al.ablated(model, "L0H1"), caplog.at_level(logging.WARNING):
        thread = threading.Thread(target=lambda: (score(model), done.append(1)))
        thread.start()
        thread.join(0.3)
        assert not done
    thread.join()
    assert done and "another thread uses this model" in caplog.text
    assert not state_of(model).ablations


CHANGED_LATER: dict[str, Callable[[Any], Any]] = {
    **{name: ATTACH[name] for name in ("parametrization", "pruning", "own forward")},
    "another module": lambda m: setattr(m.model.layers[1], "mlp", nn.Identity()),
}


@pytest.mark.parametrize("change", CHANGED_LATER)
def test_c10_a_callers_model_that_was_changed_later_is_refused(change: str) -> None:
    """The bridge has modules of its own: it would pass the change over."""
    model = hf_model("llama")
    wrapped = bridge(model)
    score(wrapped)
    CHANGED_LATER[change](model)
    for run in (lambda: score(wrapped), lambda: al.mean_z(wrapped, ["text"])):
        with pytest.raises(ModelError, match=r"model\.layers\.\d\.mlp.*call load_model again"):
            run()
    if change != "another module":
        np.testing.assert_allclose(base(bridge(model)), expected(model), atol=5e-5)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_c10_a_callers_model_in_use_is_like_the_bridges(kind: str) -> None:
    model = hf_model(kind)
    wrapped = bridge(model)
    score(wrapped)
    model.train()
    model(torch.tensor([[5, 6, 7]])).logits.sum().backward()
    assert not diverged(model, wrapped.original_model)
