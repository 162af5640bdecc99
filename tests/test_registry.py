"""What a user adds by name: registered by hand, or offered by an installed package."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import airlens as al
from airlens.ablation import hooks_and_fired
from airlens.errors import AblationError, ConfigError, ModelError
from airlens.heads import HeadSet
from airlens.losses.choice import choose_engine
from airlens.plugins import KINDS, registry
from airlens.traces.encoding import encode_trace

ROOT = Path(__file__).parents[1]
PLUGIN = Path(__file__).parent / "plugin_package"
HEADS = "L0H1, L1H2, L1H3, L2H0"
RESPONSE = "one, two, three"


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    """Leaves every registry as it was."""
    kept = {kind: dict(registry(kind)._added) for kind in KINDS}
    yield
    for kind, added in kept.items():
        registry(kind)._added = added
        registry(kind)._offered = None
        registry(kind)._entry_points()


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The example package as if it were installed."""
    monkeypatch.syspath_prepend(str(PLUGIN))
    for kind in KINDS:
        registry(kind)._offered = None
    yield
    sys.modules.pop("example_plugin", None)


@pytest.fixture(scope="module")
def probes() -> al.ProbeSet:
    from airlens.detectors.probes import Probe

    tokens = tuple(range(20, 40)) + tuple(range(24, 28))
    return al.ProbeSet((Probe("p", tokens, (4, 8), (20, 24), (4, 8), {}),), "hand-made")


@pytest.fixture(scope="module")
def traces() -> list[al.Trace]:
    return [al.Trace(f"t{i}", "Count: ", RESPONSE + "!" * i) for i in range(4)]


def test_the_old_name_of_the_settings_of_a_corpus_run_works() -> None:
    assert al.Settings is al.CorpusSettings


def test_an_installed_package_is_not_imported_before_it_is_needed(plugin: None) -> None:
    names = {
        "detector": "last_layers",
        "ablation": "negated",
        "selector": "fewest_steps",
        "splitter": "commas",
        "figure": "count_bar",
    }
    for kind, name in names.items():
        assert name in al.registered(kind)
    assert "example_plugin" not in sys.modules


def test_a_detector_from_a_package(plugin: None, llama: Any, probes: al.ProbeSet) -> None:
    scores = al.detect(llama, probes, "last_layers", progress=False, power=2.0)
    assert scores.detector == "last_layers"
    assert [h.layer for h in scores.top(4)] == [2, 2, 2, 2]
    assert scores.scores[2, 0] == 4
    both = al.detect_all(llama, probes, ["retrieval", "last_layers"], progress=False)
    assert list(both) == ["retrieval", "last_layers"]


def test_a_mode_from_a_package_is_what_its_hooks_do(plugin: None, llama: Any) -> None:
    tokens = torch.randint(3, 200, (2, 9))

    def by_hand(z: torch.Tensor, hook: Any) -> torch.Tensor:
        z = z.clone()
        z[:, :, [2, 3]] = -z[:, :, [2, 3]]
        return z

    with torch.inference_mode():
        wanted = llama.run_with_hooks(tokens, fwd_hooks=[("blocks.1.attn.hook_z", by_hand)])
        with al.ablated(llama, "L1H2, L1H3", "negated"):
            assert torch.equal(llama(tokens), wanted)
        assert not torch.equal(llama(tokens), wanted)


def test_a_mode_from_a_package_in_influence(
    plugin: None, llama: Any, traces: list[al.Trace]
) -> None:
    """The fast engine steps aside; losses are those of the model with the mode's hooks."""
    assert choose_engine(llama, "auto", mode="uniform") == "fast"
    result = al.influence(
        llama, traces, HEADS, mode="negated", controls=1, template="plain", progress=False
    )
    assert result.provenance["mode"] == "negated"
    assert result.provenance["engine"] == "hooks"
    trace = traces[2]
    encoded = encode_trace(llama.tokenizer, trace, "plain")
    whole = torch.tensor([encoded.tokens])
    with torch.inference_mode(), al.ablated(llama, HEADS, "negated"):
        logp = llama(whole)[0].log_softmax(dim=-1)
    at = range(encoded.response_start, whole.shape[1])
    nll = np.mean([-float(logp[i - 1, whole[0, i]]) for i in at])
    row = result.samples.set_index("id").loc[trace.id]
    assert row["loss_ref"] == pytest.approx(nll, abs=1e-5)
    assert row["loss_ref"] != pytest.approx(row["loss_base"], abs=1e-3)
    with pytest.raises(ConfigError, match="'negated' runs on hooks only"):
        al.influence(llama, traces, HEADS, mode="negated", engine="fast", progress=False)


def test_a_mode_from_a_package_elsewhere(
    plugin: None, llama: Any, probes: al.ProbeSet, traces: list[al.Trace], tmp_path: Path
) -> None:
    exact = al.head_influence(llama, traces[:1], "exact", mode="negated", progress=False)
    assert exact.provenance["mode"] == "negated"
    settings = al.Settings(mode="negated", template="plain")
    run = al.score_corpus(
        llama, [t.to_json() for t in traces], HEADS, tmp_path, settings=settings, progress=False
    )
    alone = al.influence(
        llama, traces, HEADS, mode="negated", controls=1, template="plain", progress=False
    )
    rows = run.samples.set_index("id").loc[[t.id for t in traces], "loss_ref"]
    np.testing.assert_allclose(rows, alone.samples["loss_ref"], atol=1e-5)
    scores = al.detect(llama, probes, "causal", heads="L1H2", mode="negated", progress=False)
    assert scores.provenance["mode"] == "negated"


def test_a_selector_from_a_package(plugin: None) -> None:
    frame = pd.DataFrame({"id": list("abcd"), "n_steps": [3, 1, 4, 2], "domain": ""})
    assert al.select(frame, by="fewest_steps", top=2).ids == ["b", "d"]
    found = al.overlap(frame.assign(ais=[3.0, 1, 4, 2]), ["ais", "fewest_steps"], (0.5,))
    assert found.loc[(found["a"] == "ais") & (found["b"] == "fewest_steps"), "jaccard"].item() == 0


def test_a_splitter_from_a_package(plugin: None) -> None:
    assert [s.text for s in al.split_steps(RESPONSE, "commas")] == ["one,", " two,", " three"]
    rows = [{"prompt": "Count", "response": RESPONSE}]
    assert len(al.load_traces(rows, splitter="commas")[0].steps) == 3
    assert len(al.Trace("t", "", RESPONSE).with_steps("commas").steps) == 3


def test_a_figure_from_a_package(plugin: None) -> None:
    fig = al.figures.count_bar(pd.DataFrame({"a": [1, 2]}), title="rows")
    assert fig.data[0].y == (2,) or list(fig.data[0].y) == [2]
    assert "count_bar" in dir(al.figures)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = al.figures.nothing


def test_two_of_one_name_are_refused_when_asked_for(
    plugin: None, llama: Any, probes: al.ProbeSet
) -> None:
    with pytest.raises(ConfigError, match=r"'induction' is offered by airlens and by example-plug"):
        al.detect(llama, probes, "induction")
    al.detect(llama, probes, "retrieval", progress=False)


def test_a_broken_package_is_named(plugin: None, llama: Any, probes: al.ProbeSet) -> None:
    with pytest.raises(ConfigError, match=r"'missing' of example-plugin .* could not be loaded"):
        al.detect(llama, probes, "missing")


@pytest.mark.parametrize("kind", KINDS)
def test_taken_and_unknown_names_list_what_there_is(kind: str) -> None:
    own = al.registered(kind)[0]
    with pytest.raises(ConfigError, match=f"named '{own}' already; use one of {own}"):
        al.register(kind, own, lambda: None)
    with pytest.raises(ConfigError, match=f"'nothing': use one of {own}"):
        registry(kind).find("nothing")
    with pytest.raises(ConfigError, match="is no name"):
        al.register(kind, "two words", lambda: None)
    with pytest.raises(ConfigError, match="use one of detector, ablation, selector"):
        al.register("model", "x", lambda: None)


def test_unknown_names_in_the_functions_that_take_them(
    llama: Any, probes: al.ProbeSet, traces: list[al.Trace]
) -> None:
    with pytest.raises(ConfigError, match="mode='nothing': use one of uniform, zero, mean"):
        al.influence(llama, traces, HEADS, mode="nothing", progress=False)
    with pytest.raises(ConfigError, match="detector='nothing': use one of retrieval, "):
        al.detect(llama, probes, "nothing")
    with pytest.raises(ConfigError, match="splitter='nothing': use one of regex, auto"):
        al.split_steps(RESPONSE, "nothing")
    with pytest.raises(ConfigError, match="by='nothing': use random, ais, "):
        al.select(pd.DataFrame({"id": ["a"], "domain": ""}), by="nothing")


def test_a_cell_that_runs_again_is_no_clash() -> None:
    def cell() -> None:
        @al.register("selector", "again")
        def again(samples: pd.DataFrame) -> pd.Series:
            return samples["a"]

    cell()
    cell()
    assert "again" in al.registered("selector")
    al.unregister("selector", "again")
    assert "again" not in al.registered("selector")


def test_what_a_function_returns_is_looked_at(llama: Any, probes: al.ProbeSet) -> None:
    al.register(
        "ablation", "wrong", lambda m, i, heads: (f"blocks.{i}.attn.hook_z", lambda z: z[0])
    )
    with pytest.raises(AblationError, match=r"blocks.0.attn.hook_z made .* of"):  # noqa: SIM117
        with al.ablated(llama, HEADS, "wrong"):
            llama(torch.tensor([[5, 6, 7]]))
    al.register("ablation", "nowhere", lambda m, i, heads: (f"blocks.{i}.attn.hook_x", lambda z: z))
    with pytest.raises(AblationError, match=r"no hook point 'blocks.0.attn.hook_x'"):
        al.ablation_hooks(llama, HEADS, "nowhere")
    al.register("detector", "none", lambda model, probes, progress: None)
    with pytest.raises(ConfigError, match="returned a NoneType"):
        al.detect(llama, probes, "none")
    al.register("selector", "short", lambda samples: samples["a"][:1])
    with pytest.raises(ConfigError, match="'short' gave no numeric Series"):
        al.select(pd.DataFrame({"id": ["a", "b"], "a": [1, 2], "domain": ""}), by="short")
    al.register("splitter", "lossy", lambda response: al.split_steps(response.strip("!"), "line"))
    with pytest.raises(ConfigError, match="'lossy' do not join"):
        al.split_steps("Ah!", "lossy")


@pytest.mark.parametrize("mode", ["uniform", "zero", "mean"])
@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen3"])
def test_plain_hooks_are_the_ablation_to_the_bit(mode: str, kind: str, make_model: Any) -> None:
    model = make_model(kind)
    tokens = torch.randint(3, 200, (2, 11))
    hooks = al.ablation_hooks(model, HEADS, mode)
    assert [name.split(".")[1] for name, _ in hooks] == ["0", "1", "2"]
    with torch.inference_mode():
        plain = model.run_with_hooks(tokens, fwd_hooks=hooks)
        with al.ablated(model, HEADS, mode):
            inside = model(tokens)
        assert torch.equal(plain, inside)
        assert not torch.equal(plain, model(tokens))


def test_plain_hooks_of_no_heads_are_none(llama: Any) -> None:
    assert al.ablation_hooks(llama, HeadSet(())) == []
    assert hooks_and_fired(llama, HeadSet(()), "mean") == ([], set())


def test_another_kind_of_model_is_refused_with_what_to_do(make_model: Any) -> None:
    class HookedTransformer(torch.nn.Module):
        """Stands for the class that TransformerLens 4 removed."""

    with pytest.raises(ModelError, match=r"load_model\(NAME\).*enable_compatibility_mode"):
        al.ablation_hooks(HookedTransformer(), HEADS, "zero")
    with pytest.raises(ModelError, match=r"LlamaForCausalLM.*load_model\(model, tokenizer="):
        al.ablation_hooks(make_model("llama").original_model, HEADS, "zero")


def blocks() -> list[str]:
    """The Python examples of CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_examples_of_contributing_run(
    llama: Any, probes: al.ProbeSet, traces: list[al.Trace]
) -> None:
    assert len(blocks()) == len(KINDS)
    names = {"model": llama, "probes": probes, "traces": traces, "heads": HeadSet.parse(HEADS)}
    for block in blocks():
        assert block.count("\n") < 30
        exec(compile(block, "CONTRIBUTING.md", "exec"), names)
    assert names["result"].provenance["mode"] == "halved"
    assert len(names["chosen"].ids) == 2
    assert [step.text for step in names["steps"]] == ["Step 1: add.\nIt is 2.\n", "Step 2: halve."]
    new = {"sharpness", "halved", "gain_a_token", "numbered", "loss_scatter"}
    assert new <= {name for kind in KINDS for name in al.registered(kind)}
