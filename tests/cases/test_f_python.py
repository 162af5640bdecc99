"""F10: wrong arguments, as a newcomer gives them in Python, are refused in a sentence or taken."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny_zoo
import torch

import airlens as al
from airlens.arguments import checked
from airlens.detectors.probes import Probe, ProbeSet
from airlens.errors import AirlensError, ConfigError, DataError, HeadError, ModelError

# Results, which functions make and nobody types, and what is about packages and processes.
NOT_TYPED = {
    *("AirlensError", "DataError", "Comparison", "EarlyAnswers", "HeadInfluence", "Influence"),
    *("Selection", "StepWeights", "Step", "Trace", "Head", "HeadSet", "HeadScores", "ProbeSet"),
    *(
        "Sources",
        "Paths",
        "HeadSubsets",
        "RivalScores",
        "Corpus",
        "CorpusSettings",
        "Settings",
        "TrainSettings",
        "fast_allocator",
    ),
    *("register", "registered", "unregister", "load_model", "load_hf"),
}
FUNCTIONS = sorted(n for n in al.__all__ if callable(getattr(al, n)) and n not in NOT_TYPED)
CLASSES = {n for n in FUNCTIONS if inspect.isclass(getattr(al, n))}


@pytest.fixture(scope="module")
def given() -> dict[str, Any]:
    """A right argument for every name."""
    torch.manual_seed(0)
    model = tiny_zoo.tiny("llama")
    lines = [f"It is {i}.\nSo {i}." for i in range(3)]
    traces = [
        al.Trace(str(i), "Ann has 3.", text, "maths").with_steps("line")
        for i, text in enumerate(lines)
    ]
    heads = al.HeadSet.parse("L1H0, L1H1")
    probes = ProbeSet(
        tuple(
            Probe(f"p{i}", (*range(5, 45), *range(10, 14)), (5, 9), (40, 44), (5, 9))
            for i in range(2)
        ),
        "given",
    )
    result = al.influence(model, traces, heads, controls=1, progress=False)
    scores = al.retrieval_scores(model, probes, progress=False)
    found = {
        "model": model,
        "traces": traces,
        "heads": heads,
        "probes": probes,
        "needles": probes,
        "scores": scores,
        "tokenizer": model.tokenizer,
        "result": result,
        "sources": al.sources(model, traces, heads, controls=1, progress=False),
        "samples": result.samples,
        "steps": result.steps,
        "texts": {"mine": traces},
        "corpus": pd.DataFrame({"prompt": ["a"], "response": ["b c"]}),
        "source": pd.DataFrame({"prompt": ["a"], "response": ["b c"]}),
        "shape": (2, 4),
        "response": "a b",
        "detectors": ["retrieval"],
        "name": "traces.jsonl",
        "answers": pd.DataFrame({"condition": ["base"], "id": ["0"]}),
        "runs": pd.DataFrame({"setting": [1], "budget": [1], "arm": ["random"], "nll": [1.0]}),
    }
    return found


SPECIAL: dict[tuple[str, str], Any] = {
    ("agreement", "scores"): lambda g: {"a": g["scores"], "b": g["scores"]},
    ("rank_table", "scores"): lambda g: {"a": g["scores"]},
    ("near_duplicates", "texts"): lambda g: [("a", "b c d e f"), ("b", "b c d e f")],
    ("held_out_nll", "model"): lambda g: tiny_zoo.hf_model("llama"),
    ("generate_answers", "model"): lambda g: tiny_zoo.hf_model("llama"),
    ("fine_tune", "model"): lambda g: "smollm2-135m",
    ("accuracy_under_ablation", "conditions"): lambda g: {"base": "", "top": g["heads"]},
    ("compare_models", "models"): lambda g: [g["model"]],
}


def bad_values(kind: str, g: dict[str, Any], name: str) -> Iterable[Any]:
    """What nobody means by an argument of this annotation."""
    frame = pd.DataFrame({"prompt": ["a"], "response": ["b"]})
    match kind:
        case "TransformerBridge":
            return ["smollm2-135m", Path("x"), tiny_zoo.hf_model("llama"), g["traces"], None, 5]
        case "PreTrainedModel":
            return ["smollm2-135m", None, 5, g["traces"]]
        case "PreTrainedTokenizerBase":
            return ["gpt2", None, 5, g["model"].original_model]
        case "Heads" | "HeadSet":
            scores, pair = g["scores"], [("a", "b")]
            return [None, 5, "heads.json", Path("x"), scores, 3.5, [5], "L9", pair, g["traces"]]
        case "ProbeSet":
            return [[], None, "x", 12, g["traces"], g["heads"], g["scores"], {}]
        case "HeadScores":
            return [None, "heads.json", g["heads"], 5, g["scores"].scores, []]
        case "Conditions":
            return [None, "L1H0", 5, [], {}, g["heads"], {"a": 1}, {"a": g["scores"]}]
        case "Mapping[str, HeadScores]":
            return [None, "heads.json", g["heads"], 5, [], {}, g["scores"], {"a": 1}]
        case "HeadScores | Mapping[str, HeadScores]" | "HeadScores | Mapping[int, HeadScores]":
            return [None, "heads.json", g["heads"], 5, [], {}, {"a": 1}]
        case "Iterable[Trace]" | "Sequence[Trace]" | "Iterable[Trace] | Trace":
            bad = ["traces.jsonl", Path("x"), frame, frame.to_dict("records"), 5, g["probes"]]
            return [*bad, g["heads"], g["model"], ["a text"], {"prompt": ["a"]}, [g["probes"][0]]]
        case "pd.DataFrame":
            return ["x.parquet", 5, [1], {"a": [1]}, g["traces"], g["result"]]
        case "int":
            return [-1, "x", 1.5, True, *([0] if name in ("n", "max_tokens") else [])]
        case "float":
            return ["x", float("nan"), True, [1]]
        case "Share" | "float | int":
            return [0, -1, 1.5, "x", True]
        case "Sequence[Mode]" | "Mode":
            return ["unifrom", 5, ["zero", "x"]]
        case "str" | "Template" | "Engine" | "Long" | "Precision":
            return [5, ["x"], *(["no-such"] if kind != "str" else [])]
        case "str | Path":
            return [5, ["x"]]
        case _ if kind.startswith("Literal["):
            return ["no-such", None, 5]
    return []


def arguments(name: str, g: dict[str, Any]) -> dict[str, Any]:
    """Right arguments of a function: those that it has no defaults for."""
    found: dict[str, Any] = {}
    for key, parameter in inspect.signature(getattr(al, name)).parameters.items():
        if (name, key) in SPECIAL:
            found[key] = SPECIAL[name, key](g)
        elif parameter.default is inspect.Parameter.empty and (key in g or key == "out"):
            found[key] = g.get(key, "/proc/none")
        if key == "progress":
            found[key] = False
    return found


@pytest.mark.parametrize("name", FUNCTIONS)
def test_f10_wrong_arguments_are_refused_in_a_sentence(name: str, given: dict[str, Any]) -> None:
    function = getattr(al, name)
    right = arguments(name, given)
    for key, parameter in inspect.signature(function).parameters.items():
        kind = str(parameter.annotation)
        for bad in bad_values(kind.removesuffix(" | None"), given, key):
            if bad is None and (kind.endswith("| None") or parameter.default is None):
                continue
            what = f"{name}({key}={bad!r:.60})"
            try:
                made = function(**{**right, key: bad})
                if name == "ablated":
                    made.__enter__()
            except AirlensError as error:
                message = str(error)
                assert message and "\n" not in message and len(message) < 400, what
                continue
            except Exception as error:
                raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
            pytest.fail(f"{what} was taken")


def test_f10_every_public_function_is_checked() -> None:
    unchecked = {
        name
        for name in FUNCTIONS
        if not hasattr(
            getattr(al, name).__init__ if name in CLASSES else getattr(al, name), "__wrapped__"
        )
    }
    assert not unchecked


def test_f10_figures_take_tables(given: dict[str, Any]) -> None:
    for name in al.figures.__all__:
        figure = getattr(al.figures, name)
        first = next(iter(inspect.signature(figure).parameters.values()))
        if str(first.annotation) != "pd.DataFrame":
            continue
        needed = [
            p.name
            for p in inspect.signature(figure).parameters.values()
            if p.default is inspect.Parameter.empty
        ]
        for bad in (None, "x.parquet", [1], given["result"], pd.DataFrame({"a": [1]})):
            more = {key: pd.DataFrame({"a": [1]}) if key == "losses" else "x" for key in needed[1:]}
            try:
                figure(bad, **more)
            except AirlensError:
                continue
            except Exception as error:
                raise AssertionError(f"{name}({bad!r:.40}): {error!r}") from error
            pytest.fail(f"{name}({bad!r:.40}) was taken")


# -- the rows of the table, by their words ---------------------------------------------------------


def test_f10_what_to_do_is_said(given: dict[str, Any]) -> None:
    model, traces, heads = given["model"], given["traces"], given["heads"]
    with pytest.raises(ConfigError, match=r"al.load_traces\('traces.jsonl'\)"):
        al.influence(model, "traces.jsonl", heads)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"al.load_model\('smollm2-135m'\)"):
        al.influence("smollm2-135m", traces, heads)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="tokenizer=tokenizer"):
        al.influence(tiny_zoo.hf_model("llama"), traces, heads)
    with pytest.raises(ConfigError, match=r"no probe; al.key_value_probes"):
        al.retrieval_scores(model, [])  # type: ignore[arg-type]
    with pytest.raises(HeadError, match=r"scores.top\(0.05\)"):
        al.influence(model, traces, given["scores"])
    with pytest.raises(HeadError, match=r"al.load_heads\('heads.json'\)"):
        al.influence(model, traces, "heads.json")
    with pytest.raises(ModelError, match="a list is no TransformerBridge"):
        al.influence(traces, model, heads)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="controls=-1: give a whole number of at least 0"):
        al.influence(model, traces, heads, controls=-1)
    with pytest.raises(ConfigError, match=r"mode='unifrom'.*did you mean 'uniform'"):
        al.influence(model, traces, heads, mode="unifrom")
    with pytest.raises(ConfigError, match=r"by='asi'"):
        al.select(given["samples"], by="asi")
    with pytest.raises(ConfigError, match=r"such as its \.tokens, \.steps, \.samples"):
        al.figures.step_bars(given["result"])
    with pytest.raises(ConfigError, match="give these scores a name"):
        al.rank_table(given["scores"])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="tpo"):  # Python's own word for an unknown argument
        al.influence(model, traces, heads, tpo=1)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "heads",
    [
        "L1H0 L1H1",
        ["L1H0", "L1H1"],
        [(1, 0), (1, 1)],
        np.array([[1, 0], [1, 1]]),
        [[np.int64(1), np.int32(0)], (1, 1)],
        [al.Head(1, 0), "L1H1"],
        (al.Head(1, 0), al.Head(1, 1)),
        {"L1H0": 0.9, "L1H1": 0.8},
    ],
)
def test_f10_heads_as_people_write_them(heads: Any, given: dict[str, Any]) -> None:
    model, traces = given["model"], given["traces"]
    result = al.influence(model, traces, heads, controls=1, progress=False)
    pd.testing.assert_frame_equal(result.samples, given["result"].samples)


def test_f10_what_is_meant_is_taken(given: dict[str, Any]) -> None:
    model, traces, heads = given["model"], given["traces"], given["heads"]
    one = al.influence(model, traces[0], heads, controls=1, progress=False)
    pd.testing.assert_frame_equal(one.samples, given["result"].samples.iloc[:1])
    lazily = al.influence(model, iter(traces), heads, controls=np.int64(1), progress=None)  # type: ignore[arg-type]
    pd.testing.assert_frame_equal(lazily.samples, given["result"].samples)
    probes = given["probes"]
    whole = al.retrieval_scores(model, probes, progress=False)
    for same in (list(probes), tuple(probes), iter(probes)):
        found = al.retrieval_scores(model, same, progress=False)  # type: ignore[arg-type]
        np.testing.assert_array_equal(found.samples, whole.samples)
    single = al.retrieval_scores(model, probes[0], progress=False)  # type: ignore[arg-type]
    np.testing.assert_array_equal(single.samples, whole.samples[:1])
    assert al.influence(model, [], heads, progress=False).samples.empty


def test_f10_probes_of_another_tokenizer(given: dict[str, Any]) -> None:
    model = given["model"]
    learnt = tiny_zoo.tiny("gpt2")
    strange = Probe("p", (5, 6, 50_000, 5, 6), (0, 2), (3, 5), (0, 2))
    long = Probe("p", (5,) * 5_000, (0, 2), (4_990, 5_000), (0, 2))
    for detector in ("retrieval", "locos", "causal", "retrieval_greedy", "attribution", "qrhead"):
        with pytest.raises(ConfigError, match="this model's tokenizer"):
            al.detect(model, [strange], detector, progress=False)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="make shorter probes"):
            al.detect(learnt, [long], detector, progress=False)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="this model's tokenizer"):
        al.copy_accuracy(model, [strange])  # type: ignore[arg-type]


def test_f10_the_check_keeps_the_function() -> None:
    @checked
    def told(text: str, times: int = 2, *more: int, **options: int) -> str:
        """What it does."""
        return text * times

    assert told.__doc__ == "What it does." and list(inspect.signature(told).parameters)[0] == "text"
    assert told("a", 3) == "aaa" and told("a", times=np.int64(1)) == "a"
    with pytest.raises(TypeError):
        told()  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="times"):
        told("a", -1)


@pytest.mark.parametrize("path", ["folder", "file/below", ""])
def test_f2_saving_into_an_impossible_place(
    path: str, given: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    target = str(tmp_path / path) if path else ""
    with pytest.raises(AirlensError):
        given["scores"].save(target)
    with pytest.raises(AirlensError):
        al.page(given["result"], given["sources"], given["traces"], path=target)


def test_f10_reading_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[1]")
    for wrong in (tmp_path / "no.json", tmp_path, tmp_path / "x.json", "", "no.json"):
        for load in (al.load_heads, al.HeadScores.load, al.Influence.load, al.ProbeSet.load):
            with pytest.raises((DataError, ConfigError)):
                load(wrong)
