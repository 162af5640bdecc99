"""Retrieval scores on hand-built weights, and on SmolLM2."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from handmade import induction_model, lookup_model

import airlens as al
from airlens.ablation import ablated
from airlens.detectors.key_value_probes import key_value_probes
from airlens.detectors.probes import Probe, ProbeSet
from airlens.detectors.retrieval import copy_accuracy, retrieval_scores
from airlens.errors import ConfigError, DataError, HeadError
from airlens.losses.fast.fast_model import fast_model


@pytest.fixture(scope="module")
def built(tokenizer: Any) -> Any:
    return al.load_model(induction_model(), tokenizer=tokenizer, device="cpu")


def copy_probe(query_is_last: bool = True) -> ProbeSet:
    """… k v1 v2 v3 … k → v1 v2 v3: every token once before, so that induction finds one source."""
    context = [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]
    needle = (4, 7)  # after the key, token 6
    tokens = (*context, 14, 15, 6, *context[needle[0] : needle[1]])
    answer = (len(context) + 3, len(tokens))
    probe = Probe("hand", tokens, needle, answer, (needle[0] - 1, needle[1]))
    return ProbeSet((probe,), "hand-made")


def test_the_induction_head_scores_one_and_all_others_zero(built: Any) -> None:
    scores = retrieval_scores(built, copy_probe(), progress=False)
    assert scores.scores.tolist() == [[0, 0], [1, 0]]
    assert scores.top(1).names() == ["L1H0"]
    assert scores.copy_accuracy == 1.0


def lookup_probe() -> ProbeSet:
    """… k v1 v2 v3 … k q → v1 v2 v3: a token between key and answer, unseen before."""
    probe = copy_probe()[0]
    start, stop = probe.answer
    tokens = (*probe.tokens[:start], 16, *probe.tokens[start:])
    return ProbeSet((replace(probe, tokens=tokens, answer=(start + 1, stop + 1)),), "hand-made")


@pytest.mark.parametrize("engine", ["hooks", "fast"])
def test_a_lookup_head_finds_the_first_token_and_an_induction_head_goes_on(
    tokenizer: Any, engine: Any
) -> None:
    model = al.load_model(lookup_model(), tokenizer=tokenizer, device="cpu")
    fast_model(model).verdict = ""  # logits of 60 move with the order of summation alone
    scores = retrieval_scores(model, lookup_probe(), engine=engine, progress=False)
    assert scores.scores.tolist() == [[0, 0], [pytest.approx(2 / 3), pytest.approx(1 / 3)]]
    assert scores.parts["lookup"].scores.tolist() == [[0, 0], [0, 1]]
    assert scores.parts["continuation"].scores.tolist() == [[0, 0], [1, 0]]
    assert (scores.top(1).names(), scores.top(1).name) == (["L1H0"], "top 1")
    lookup = scores.top(1, part="lookup")
    assert (lookup.names(), lookup.name) == (["L1H1"], "lookup top 1")
    assert lookup.provenance["part"] == "lookup"
    assert scores.top(1, "continuation").names() == ["L1H0"]


@pytest.mark.parametrize("engine", ["hooks", "fast"])
def test_parts_are_the_scores_of_probes_cut_to_them(llama: Any, engine: Any) -> None:
    rng = np.random.default_rng(0)
    made = []
    for i, (n, size) in enumerate(((30, 7), (24, 1), (40, 3))):  # one of a single answer token
        tokens = tuple(rng.integers(3, 7, n).tolist())
        made.append(Probe(str(i), tokens, (2, 18), (n - size, n), (2, 18)))
    whole = retrieval_scores(llama, ProbeSet(tuple(made), "x"), engine=engine, progress=False)
    first = [
        replace(p, tokens=p.tokens[: p.answer[0] + 1], answer=(p.answer[0], p.answer[0] + 1))
        for p in made
    ]
    later = [replace(p, answer=(p.answer[0] + 1, p.answer[1])) for p in (made[0], made[2])]
    for name, probes in (("lookup", first), ("continuation", later)):
        part, cut = whole.parts[name], ProbeSet(tuple(probes), "x")
        expected = retrieval_scores(llama, cut, engine=engine, progress=False)
        assert expected.samples.any()
        np.testing.assert_array_equal(part.samples, expected.samples)
        np.testing.assert_array_equal(part.scores, expected.scores)
        assert part.copy_accuracy == expected.copy_accuracy
    for i, probe in enumerate(made):
        np.testing.assert_allclose(whole.samples[i], slow_scores(llama, probe, 0), atol=1e-6)


def test_parts_are_saved_with_the_scores(built: Any, tmp_path: Any) -> None:
    scores = retrieval_scores(built, lookup_probe(), progress=False)
    again = al.HeadScores.load(scores.save(tmp_path / "heads.json", 1, part="lookup"))
    assert list(again.parts) == ["lookup", "continuation"]
    for name, part in scores.parts.items():
        np.testing.assert_array_equal(again.parts[name].samples, part.samples)
        np.testing.assert_array_equal(again.parts[name].scores, part.scores)
        assert again.parts[name].copy_accuracy == part.copy_accuracy
    chosen = al.load_heads(tmp_path / "heads.json")
    assert chosen.heads == scores.top(1, part="lookup").heads
    assert chosen.provenance["part"] == "lookup"
    frame = again.to_frame()
    assert list(frame.columns[-2:]) == ["lookup", "continuation"]
    by_name = frame.set_index("name")["continuation"]
    assert by_name.to_dict() == {
        str(h): again.parts["continuation"].scores[h] for h in again.ranked()
    }


def test_a_part_that_was_not_measured_is_named(built: Any) -> None:
    scores = al.detect(built, copy_probe(), "locos", progress=False)
    with pytest.raises(HeadError, match="lookup"):
        scores.top(1, part="lookup")
    one = replace(copy_probe()[0], answer=(16, 17))
    short = retrieval_scores(built, ProbeSet((one,), "one token"), progress=False)
    assert list(short.parts) == ["lookup"]
    with pytest.raises(HeadError, match="continuation"):
        short.top(1, part="continuation")


def test_the_query_position_is_the_one_that_predicts(built: Any) -> None:
    """Read at t instead of t-1, the same head would attend one token further and score 0."""
    probe = copy_probe()[0]
    shifted = Probe(
        "late",
        probe.tokens,
        probe.needle,
        (probe.answer[0] + 1, probe.answer[1]),
        probe.removable,
    )
    whole = slow_scores(built, probe, late=0)
    late = slow_scores(built, probe, late=1)
    assert whole[1, 0] == 1 and late[1, 0] == 0
    found = retrieval_scores(built, ProbeSet((shifted,), "late"), progress=False)
    assert found.scores[1, 0] == 1  # a shorter answer, read at the right place


def slow_scores(model: Any, probe: Probe, late: int) -> np.ndarray:
    """Second implementation: the whole pattern cached, then token by token in Python."""
    _, cache = model.run_with_cache(torch.tensor([probe.tokens]))
    scores = np.zeros((model.cfg.n_layers, model.cfg.n_heads))
    for layer in range(model.cfg.n_layers):
        pattern = cache[f"blocks.{layer}.attn.hook_pattern"][0]
        for head in range(model.cfg.n_heads):
            for t in range(*probe.answer):
                row = pattern[head, t - 1 + late, : t + late]
                best = int(row.argmax())
                copied = probe.tokens[best] == probe.tokens[t]
                inside = probe.needle[0] <= best < probe.needle[1]
                scores[layer, head] += copied and inside
    return scores / (probe.answer[1] - probe.answer[0])


def test_equals_the_slow_implementation(llama: Any, tokenizer: Any) -> None:
    probes = key_value_probes(tokenizer, n=3, max_tokens=500, shots=1, values=["abc", "bcd", "cde"])
    fast = retrieval_scores(llama, probes, progress=False)
    for i, probe in enumerate(probes):
        np.testing.assert_allclose(fast.samples[i], slow_scores(llama, probe, late=0), atol=1e-6)


def test_ablating_the_induction_head_ends_copying(built: Any) -> None:
    probes = copy_probe()
    assert copy_accuracy(built, probes).accuracy == 1.0
    with ablated(built, "L1H0"):
        assert copy_accuracy(built, probes).accuracy < 0.5
    with ablated(built, "L1H1"):
        assert copy_accuracy(built, probes).accuracy == 1.0
    assert copy_accuracy(built, probes, needle_removed=True).accuracy < 0.5


def test_probes_are_spliced_so_that_answer_and_needle_have_the_same_tokens(tokenizer: Any) -> None:
    probes = key_value_probes(tokenizer, n=4, max_tokens=1500, seed=3)
    for probe in probes:
        assert probe.tokens[slice(*probe.needle)] == probe.answer_tokens
        assert len(probe.tokens) <= 1500 and probe.answer[1] == len(probe.tokens)
        text = tokenizer.decode(probe.tokens)
        value = tokenizer.decode(probe.answer_tokens)
        assert text.count(value) == 2  # in the JSON, and as the answer
        cut = probe.without_needle()
        rest = tokenizer.decode(cut.tokens)
        assert rest.count(value) == 1 and cut.answer_tokens == probe.answer_tokens
        assert rest.count(probe.meta["key"]) == 1  # only asked for
    assert key_value_probes(tokenizer, n=4, max_tokens=1500, seed=3).hash == probes.hash
    assert key_value_probes(tokenizer, n=4, max_tokens=1500, seed=4).hash != probes.hash


def test_probe_sets_save_and_load(tokenizer: Any, tmp_path: Any) -> None:
    probes = key_value_probes(tokenizer, n=2, max_tokens=1500)
    path = probes.save(tmp_path / "probes.json")
    assert ProbeSet.load(path) == probes
    path.write_text(path.read_text().replace('"needle": [', '"needle": [1', 1))
    with pytest.raises(DataError, match="hash"):
        ProbeSet.load(path)


def test_too_short_probes_say_so(tokenizer: Any) -> None:
    with pytest.raises(ConfigError, match="raise max_tokens"):
        key_value_probes(tokenizer, n=1, max_tokens=200)


@pytest.mark.slow
def test_smollm2_has_the_known_heads(smollm2: Any) -> None:
    """Known from an independent measurement: L18H6 first, and these heads among the best."""
    known = [
        "L18H6",
        "L17H3",
        "L20H6",
        "L18H7",
        "L17H4",
        "L23H2",
        "L23H7",
        "L23H8",
        "L21H8",
        "L22H7",
        "L23H1",
    ]
    probes = key_value_probes(smollm2.tokenizer, n=4, max_tokens=640)
    scores = retrieval_scores(smollm2, probes, progress=False)
    top = scores.top(0.05)
    assert len(top) == 14
    assert len(set(top.names()) & set(known)) >= 9
    assert {"L18H6", "L17H3"} <= set(scores.top(4).names())
    assert scores.copy_accuracy is not None and scores.copy_accuracy > 0.75
    with ablated(smollm2, top):
        assert copy_accuracy(smollm2, probes).accuracy < 0.4
