"""Every detector on hand-built weights, where its value is known, and against slow loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from handmade import HEAD, SHARP, induction_model
from tiny_zoo import ARCHITECTURES, config, tiny, tokenizer

import airlens as al
from airlens.ablation import ablated, mean_z
from airlens.detectors.attention_scores import LayerView, stream
from airlens.detectors.detect import DESCRIPTIONS, DETECTORS, READERS, detect, detect_all
from airlens.detectors.greedy_decoding import greedy, rouge1_recall
from airlens.detectors.induction import repeated_ids
from airlens.detectors.locos import contributions, output_weights
from airlens.detectors.probes import Probe, ProbeSet
from airlens.detectors.qrhead import document_score
from airlens.errors import ConfigError, DataError

QUIET = {"progress": False}


def hand_probe() -> ProbeSet:
    """… 6 7 8 9 … 6 → 7 8 9; the question is "14 15 6", the null question "16 17 18"."""
    context = [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]
    tokens = (*context, 14, 15, 6, 7, 8, 9)
    meta = {"query": [11, 14], "null_query": [16, 17, 18]}
    return ProbeSet((Probe("hand", tokens, (4, 7), (14, 17), (3, 7), meta),), "hand-made")


@pytest.fixture(scope="module")
def circuit() -> Any:
    """L0H0 previous token, L0H1 uniform, L1H0 induction, L1H1 first position."""
    model = induction_model()
    with torch.no_grad():  # its query, the same for every token, as a bias: a layer norm sums to 0
        model.transformer.h[1].attn.c_attn.bias[HEAD] = SHARP
    return al.load_model(model, tokenizer=tokenizer(), device="cpu")


def best(scores: al.HeadScores) -> str:
    return scores.top(1).names()[0]


def test_every_detector_has_a_name_and_a_description(circuit: Any) -> None:
    assert set(DETECTORS) == set(DESCRIPTIONS) and set(READERS) < set(DETECTORS)
    with pytest.raises(ConfigError, match="use one of retrieval"):
        detect(circuit, hand_probe(), "magic")
    with pytest.raises(ConfigError, match="use one of retrieval"):
        detect_all(circuit, hand_probe(), ["magic"])


def test_retrieval_as_a_reader_is_retrieval_scores(circuit: Any, llama: Any) -> None:
    from airlens.detectors.key_value_probes import key_value_probes

    probes = key_value_probes(tokenizer(), n=2, max_tokens=500, shots=1, values=["ab", "bc", "cd"])
    alone = detect(llama, probes, "retrieval", **QUIET)
    shared = detect_all(llama, probes, ["retrieval", "locos"], **QUIET)["retrieval"]
    np.testing.assert_array_equal(alone.samples, shared.samples)
    assert alone.copy_accuracy == pytest.approx(shared.copy_accuracy)


def test_greedy_scores_the_induction_head_one(circuit: Any) -> None:
    found = detect(circuit, hand_probe(), "retrieval_greedy", max_steps=3, **QUIET)
    # Steps are the answer's three: 7, 8, 9, each copied out of the needle by L1H0 alone.
    assert found.scores.tolist() == [[0, 0], [1, 0]]
    assert found.provenance["recall"] == {"hand": 1.0}


def test_greedy_counts_only_answered_probes(circuit: Any) -> None:
    probe = hand_probe()[0]
    # After 20, never seen before, induction has nothing to go by: the answer cannot be found.
    lost = Probe("lost", (*probe.tokens[:13], 20, 7, 8, 9), (4, 7), (14, 17), (3, 7))
    with pytest.raises(DataError, match="none of the 1 probes"):
        detect(circuit, ProbeSet((lost,), "x"), "retrieval_greedy", max_steps=3, **QUIET)
    both = detect(circuit, ProbeSet((lost, probe), "x"), "retrieval_greedy", max_steps=3, **QUIET)
    assert len(both.samples) == 1 and both.scores[1, 0] == 1
    with ablated(circuit, "L1H0"):
        assert greedy(circuit, probe, 3).recall < 0.5


def test_rouge1_recall_clips_repeats() -> None:
    assert rouge1_recall("The red, red door", "red! the window") == 0.5
    assert rouge1_recall("one", "none one") == 1.0
    assert rouge1_recall("%&", "& $") == 0.5  # no words: characters


def test_induction_on_repeated_tokens(circuit: Any) -> None:
    """Sharp attention: the induction head puts all its weight on the right position.

    But for the first row of nine: position 0 counts as its own predecessor, so half goes there.
    The uniform head puts 1/(t) there: the mean over rows t = half+1 … 2·half-1 of 1/t, by hand.
    """
    probes = repeated_ids(list(range(1, 24)), n=2, half=10, seed=3)
    found = detect(circuit, probes, "induction", **QUIET)
    assert found.scores[1, 0] == pytest.approx(8.5 / 9, abs=1e-4)
    assert found.scores[1, 1] == pytest.approx(0.0, abs=1e-4)
    assert found.scores[0, 0] == pytest.approx(0.0, abs=1e-4)
    by_hand = np.mean([1 / t for t in range(11, 20)])
    assert found.scores[0, 1] == pytest.approx(by_hand, rel=1e-4)
    assert found.copy_accuracy == 1.0


def test_induction_makes_its_own_probes_and_refuses_others(circuit: Any, llama: Any) -> None:
    own = detect(llama, hand_probe(), "induction", **QUIET)
    assert own.provenance["probes"]["kind"] == "repeated"
    probe = hand_probe()[0]
    loose = Probe("loose", probe.tokens, (3, 7), probe.answer, (3, 7))
    with pytest.raises(ConfigError, match="equal to its needle"):
        detect(circuit, ProbeSet((loose,), "repeated"), "induction", **QUIET)


def test_retrieval_reasoning_by_hand(circuit: Any) -> None:
    """Three steps of weight 1 over |N| = 3: 1. Uniform: at t the 3 first of t equal weights."""
    found = detect(circuit, hand_probe(), "retrieval_reasoning", **QUIET)
    assert best(found) == "L1H0"
    assert found.scores[1, 0] == pytest.approx(1.0, abs=1e-4)
    assert found.scores[1, 1] == pytest.approx(0.0, abs=1e-4)
    assert found.scores[0, 0] == pytest.approx(0.0, abs=1e-4)
    assert 0 <= found.scores[0, 1] <= sum(1 / t for t in (14, 15, 16)) + 1e-6


def test_locos_by_hand(circuit: Any) -> None:
    """Only L1H0 writes to the output; it writes the token's value, so φ is all from the needle.

    u_y is SHARP at the answer's output feature. v is the layer norm of a one-hot residual: the
    test takes it from the hook and does W_O and the formula in loops.
    """
    found = detect(circuit, hand_probe(), "locos", **QUIET)
    assert best(found) == "L1H0"
    assert found.scores[1, 0] > 1
    assert abs(found.scores[0, 1]) < 0.01 and abs(found.scores[0, 0]) < 0.01
    assert found.scores[1, 1] == pytest.approx(0.0, abs=1e-4)  # its values are 0
    np.testing.assert_allclose(found.samples[0], slow_locos(circuit, hand_probe()[0]), atol=1e-4)


def slow_locos(model: Any, probe: Probe) -> np.ndarray:
    """Second implementation: cached activations, W_O from the state dict, sums in Python."""
    _, cache = model.run_with_cache(torch.tensor([probe.tokens]))
    scores = np.zeros((model.cfg.n_layers, model.cfg.n_heads))
    weights = model.original_model.state_dict()
    head = next(v for k, v in weights.items() if "lm_head" in k and k.endswith("weight"))
    for layer in range(model.cfg.n_layers):
        pattern = cache[f"blocks.{layer}.attn.hook_pattern"][0]
        value = cache[f"blocks.{layer}.attn.hook_v"][0]
        module = model.blocks[layer].attn.o.original_component
        conv = type(module).__name__ == "Conv1D"
        out = module.weight if conv else module.weight.T
        size = value.shape[-1]
        for h in range(model.cfg.n_heads):
            kv = h * value.shape[1] // model.cfg.n_heads
            for t in range(*probe.answer):
                u = head[probe.tokens[t]]
                phi = [
                    float(
                        pattern[h, t - 1, j] * (value[j, kv] @ out[h * size : (h + 1) * size] @ u)
                    )
                    for j in range(t)
                ]
                inside = range(*probe.needle)
                off = [phi[j] for j in range(t) if j not in inside]
                scores[layer, h] += sum(phi[j] for j in inside)
                scores[layer, h] -= len(inside) / len(off) * sum(off)
    return scores / (probe.answer[1] - probe.answer[0])


@pytest.mark.parametrize("name", ["gpt2", "llama", "falcon", "phi3", "gpt_oss"])
def test_locos_equals_slow_loops(name: str) -> None:
    tokens = tuple(np.random.default_rng(0).integers(3, 200, size=14).tolist())
    probe = Probe("random", tokens, (3, 6), (10, 14), (3, 6))
    found = detect(tiny(name), ProbeSet((probe,), "x"), "locos", **QUIET)
    np.testing.assert_allclose(found.samples[0], slow_locos(tiny(name), probe), atol=2e-4)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_contributions_add_up_to_what_the_head_writes(name: str) -> None:
    """Σ_j φ_{t,j} = u_y · z W_O, with z from its own hook."""
    model = tiny(name)
    tokens = tuple(np.random.default_rng(1).integers(3, 200, size=12).tolist())
    probe = Probe("random", tokens, (3, 6), (9, 12), (3, 6))
    zs: dict[int, torch.Tensor] = {}
    hooks = [
        (f"blocks.{i}.attn.hook_z", lambda z, hook, i=i: zs.__setitem__(i, z[0].clone()))
        for i in range(2)
    ]
    sums: dict[int, torch.Tensor] = {}

    def read(view: LayerView) -> None:
        sums[view.layer] = contributions(view).sum(dim=-1)

    with model.hooks(fwd_hooks=hooks):
        stream(model, probe, (8, 11), read)
    for layer, z in zs.items():
        written = torch.einsum("thd,hdm->htm", z[8:11], output_weights(model, layer))
        u = model.W_U[:, list(tokens[9:12])]
        expected = torch.einsum("hnm,mn->hn", written, u)
        torch.testing.assert_close(sums[layer], expected, atol=1e-4, rtol=1e-3)


def test_qrhead_by_hand(circuit: Any) -> None:
    """The question's last token, 6, sends L1H0 to the needle's first, 7: 1/3 of the mean over rows.

    Tokens never seen before leave it uniform: the null question's last gives 3/14 to the needle,
    and the first two rows of both are alike. So s = 1/3 · (1 - 3/14). The uniform head looks at the
    needle the same whatever is asked: 0.
    """
    found = detect(circuit, hand_probe(), "qrhead", **QUIET)
    assert best(found) == "L1H0"
    assert found.scores[0, 1] == pytest.approx(0.0, abs=1e-6)
    assert found.scores[1, 1] == pytest.approx(0.0, abs=1e-4)
    asked, null = (query_mean(circuit, q) for q in ([14, 15, 6], [16, 17, 18]))
    assert found.scores[1, 0] == pytest.approx(float((asked - null).sum()), abs=1e-5)
    assert found.scores[1, 0] == pytest.approx((1 - 3 / 14) / 3, abs=1e-4)


def query_mean(model: Any, question: list[int]) -> torch.Tensor:
    tokens = torch.tensor([[*hand_probe()[0].tokens[:11], *question]])
    _, cache = model.run_with_cache(tokens)
    return cache["blocks.1.attn.hook_pattern"][0, 0, 11:14, 4:7].mean(dim=0)


def test_qrhead_drops_low_outliers_and_needs_a_question(circuit: Any) -> None:
    gain = torch.tensor([1.0] * 9 + [-8.0])  # mean .1, std 2.85: -8 is under mean - 2 std
    assert float(document_score(gain)) == 9.0
    assert float(document_score(torch.tensor([0.5, 0.5]))) == 1.0
    probe = hand_probe()[0]
    bare = Probe("bare", probe.tokens, probe.needle, probe.answer, probe.removable)
    with pytest.raises(ConfigError, match="has no question"):
        detect(circuit, ProbeSet((bare,), "x"), "qrhead", **QUIET)


def test_causal_finds_the_whole_circuit(circuit: Any) -> None:
    """Both heads of the circuit are needed, the first-position head and the uniform one are not.

    That is more than attention shows: the previous-token head never looks at the needle.
    """
    found = detect(circuit, hand_probe(), "causal", **QUIET)
    assert set(found.top(2).names()) == {"L1H0", "L0H0"}
    assert found.scores[0, 0] > 1 and found.scores[1, 0] > 1
    assert found.scores[0, 1] == pytest.approx(0, abs=0.05)
    assert found.scores[1, 1] == pytest.approx(0, abs=1e-4)
    some = detect(circuit, hand_probe(), "causal", heads="L1H0", **QUIET)
    assert some.scores[1, 0] == found.scores[1, 0] and np.isnan(some.scores).sum() == 3
    assert some.top(1).names() == ["L1H0"] and some.provenance["asked"] == ["L1H0"]


@pytest.mark.parametrize("mode", ["uniform", "zero", "mean"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_attribution_is_the_derivative_of_ablation(name: str, mode: Any) -> None:
    """Moving one head's z a little way to its ablated value changes the loss by that part of it."""
    model = tiny(name)
    tokens = tuple(np.random.default_rng(2).integers(3, 200, size=14).tolist())
    probe = Probe("random", tokens, (3, 6), (10, 14), (3, 6))
    means = mean_z(model, ["reference"]) if mode == "mean" else None
    options = {"mode": mode, "means": means} | QUIET
    found = detect(model, ProbeSet((probe,), "x"), "attribution", **options)
    for layer, head in [(0, 1), (1, 2)]:
        slope = numeric_slope(model, probe, layer, head, mode, means)
        assert found.scores[layer, head] == pytest.approx(slope, rel=0.05, abs=3e-3)


def numeric_slope(model: Any, probe: Probe, layer: int, head: int, mode: Any, means: Any) -> float:
    ids = torch.tensor([probe.tokens])
    name = f"blocks.{layer}.attn.hook_z"
    target: list[torch.Tensor] = []
    with torch.inference_mode(), ablated(model, [(layer, head)], mode, means=means):
        model.run_with_hooks(ids, fwd_hooks=[(name, lambda z, hook: target.append(z.clone()))])

    def loss(step: float) -> float:
        def move(z: torch.Tensor, hook: Any) -> torch.Tensor:
            z = z.clone()
            z[:, :, head] += step * (target[0][:, :, head] - z[:, :, head])
            return z

        with torch.inference_mode():
            logits = model.run_with_hooks(ids, fwd_hooks=[(name, move)])[0]
        start, stop = probe.answer
        wanted = ids[0, start:stop]
        rows = logits[start - 1 : stop - 1].double()
        return float(torch.nn.functional.cross_entropy(rows, wanted))

    step = 1e-2
    return (loss(step) - loss(-step)) / (2 * step)


def grouped_copier() -> Any:
    """A one-layer Llama with 4 query heads on 2 key-value heads; L0H2 copies, H3 shares its K, V.

    Token i asks for token i+1 through H2, every token asks for token 0 through H3. RoPE's slowest
    pairs of dimensions hardly turn, so only those are used; H0 and H1 are all zero: uniform.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    n, width, size = 16, 64, 64
    kind = LlamaConfig(
        vocab_size=260,
        hidden_size=width,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=size,
        max_position_embeddings=64,
        rope_theta=1e12,
        tie_word_embeddings=False,
    )
    kind.rope_parameters = {"rope_type": "default", "rope_theta": 1e12}
    model = LlamaForCausalLM(kind).eval()
    slow = size // 2 - n  # dimensions slow … slow + n - 1 turn by < 1e-5 a position
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.fill_(1.0 if "norm" in key else 0.0)
        attention = model.model.layers[0].self_attn
        for i in range(n):
            model.model.embed_tokens.weight[i, i] = 1.0
            attention.k_proj.weight[size + slow + i, i] = 1.0
            attention.v_proj.weight[size + i, i] = 1.0
            attention.q_proj.weight[2 * size + slow + (i + 1) % n, i] = 20.0
            attention.q_proj.weight[3 * size + slow, i] = 20.0
            attention.o_proj.weight[n + i, 2 * size + i] = 1.0
            attention.o_proj.weight[n + i, 3 * size + i] = 1.0
            model.lm_head.weight[i, n + i] = 10.0
    return model


def test_a_copying_head_inside_a_group() -> None:
    """Residual norm: x = one-hot, so x/rms = 8 · one-hot; v = 8 · one-hot, φ = α · 10 · 8."""
    model = al.load_model(grouped_copier(), tokenizer=tokenizer(), device="cpu")
    tokens = (0, 9, 5, 6, 7, 12, 10, 4, 5, 6, 7)
    meta = {"query": [6, 8], "null_query": [11, 13]}
    probe = Probe("group", tokens, (2, 5), (8, 11), (2, 5), meta)
    probes = ProbeSet((probe,), "hand-made")
    # 5 (at 2) is the successor of 4; in the answer itself 5 stands again (at 8), so from there on
    # the head divides its weight between needle and answer: argmax takes the earlier one.
    scores = detect_all(model, probes, ["retrieval", "locos", "retrieval_reasoning"], **QUIET)
    for name, found in scores.items():
        assert best(found) == "L0H2", name
    np.testing.assert_allclose(scores["retrieval"].scores, [[0, 0, 1, 0]])
    locos = scores["locos"].scores[0]
    assert locos[2] == pytest.approx(80.0, rel=1e-3)
    np.testing.assert_allclose(locos[[0, 1, 3]], 0, atol=1e-3)
    reasoning = scores["retrieval_reasoning"].scores[0]
    assert reasoning[2] == pytest.approx(1.0, rel=1e-3)
    assert reasoning[3] == pytest.approx(0.0, abs=1e-4)
    assert best(detect(model, probes, "causal", **QUIET)) == "L0H2"
    assert best(detect(model, probes, "qrhead", **QUIET)) == "L0H2"


def test_config_of_every_architecture_has_the_same_heads() -> None:
    assert {tiny(name).cfg.n_heads for name in ARCHITECTURES} == {4}
    assert config("llama").num_key_value_heads == 2
