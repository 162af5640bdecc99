"""A thought is written once, and as the template of the model writes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from chat_templates import TEMPLATES, byte_tokenizer

import airlens as al
from airlens.errors import ConfigError, DataError
from airlens.step_sources.source_units import units_of
from airlens.traces.chat_template import template_identity, write
from airlens.traces.encoding import encode_trace
from airlens.views.figures.coloured_text import pieces

ASK, THOUGHT, ANSWER = "3 + 4?", "Three and four.\nSo seven.", "It is 7."
# Templates that write a thought they are given, and those that only know its tags.
SHOWN = ["qwen 3", "qwen 3 thinking", "gpt-oss", "glm", "magistral"]
KNOWN = ["r1 distill", "r1 first", "qwq", "phi 4 reasoning", "smollm 3", "granite"]
KNOWN += ["deepseek 3.1", "kimi"]
NONE = ["chatml", "chatml system", "llama 3", "mistral", "gemma", "zephyr", "trims"]
# What each writes around thought and answer, by hand.
FORM = {
    **dict.fromkeys(KNOWN + SHOWN, "<think>\n{}\n</think>\n\n{}"),
    "gpt-oss": "<|channel|>analysis<|message|>{}<|end|><|start|>assistant"
    "<|channel|>final<|message|>{}",
    "glm": "\n<think>{}</think>\n{}",
    "magistral": "[THINK]{}[/THINK]{}",
    "deepseek 3.1": "<think>{}</think>{}",
    "kimi": "<think>{}</think>{}",
}
OPENING = {
    "r1 distill": "<|Assistant|>",
    "r1 first": "<|Assistant|>",
    "qwq": "<|im_start|>assistant\n",
    "qwen 3": "<|im_start|>assistant\n",
    "qwen 3 thinking": "<|im_start|>assistant\n",
    "gpt-oss": "<|start|>assistant",
    "phi 4 reasoning": "<|im_start|>assistant<|im_sep|>",
    "smollm 3": "<|im_start|>assistant\n",
    "granite": "<|start_of_role|>assistant<|end_of_role|>",
    "magistral": "[/INST]",
    "deepseek 3.1": "<|Assistant|>",
    "glm": "<|assistant|>",
    "kimi": "<|im_start|>assistant<|im_sep|>",
}


@pytest.fixture
def tok() -> Iterator[Any]:
    tokenizer = byte_tokenizer()
    yield tokenizer
    tokenizer.chat_template = None


def apart() -> al.Trace:
    return al.Trace("1", ASK, f"{THOUGHT}\n\n{ANSWER}", thinking=len(THOUGHT)).with_steps("line")


def inline(text: str = f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}") -> al.Trace:
    return al.Trace("1", ASK, text).with_steps("line")


def read(tok: Any, trace: al.Trace, **options: Any) -> str:
    """The text that the model reads, from the tokens; checks that these are the text's."""
    encoded = encode_trace(tok, trace, **options)
    text = write(tok, trace, **options).text
    assert encoded.tokens == tok(text, add_special_tokens=False)["input_ids"]
    covered = np.zeros(len(trace.response), dtype=bool)
    for start, end in encoded.offsets.tolist():
        covered[start:end] = True
    assert covered.all()
    assert (np.diff(encoded.step) >= 0).all()
    assert set(encoded.step) == set(range(len(trace.whole_steps())))
    return text


@pytest.mark.parametrize("name", [*SHOWN, *KNOWN])
def test_a4_a_thought_given_apart(tok: Any, name: str) -> None:
    tok.chat_template = TEMPLATES[name]
    text = read(tok, apart())
    assert text.endswith(OPENING[name] + FORM[name].format(THOUGHT, ANSWER))
    assert text.count(ASK) == 1


@pytest.mark.parametrize("name", SHOWN)
def test_a4_as_the_template_writes_the_scored_turn(tok: Any, name: str) -> None:
    tok.chat_template = TEMPLATES[name]
    content: Any = ANSWER
    if name == "magistral":
        content = [{"type": "thinking", "thinking": THOUGHT}, {"type": "text", "text": ANSWER}]
    turn = {"role": "assistant", "content": content, "reasoning_content": THOUGHT}
    turns = [{"role": "user", "content": ASK}, {**turn, "thinking": THOUGHT}]
    want = tok.apply_chat_template(turns, tokenize=False)
    text = read(tok, apart())
    assert want.startswith(text)
    assert want[len(text) :].strip() in ("<|im_end|>", "<|return|>", "</s>", "")


@pytest.mark.parametrize("name", [*SHOWN, *KNOWN])
def test_a4_a_thought_between_tags_is_opened_once(tok: Any, name: str) -> None:
    tok.chat_template = TEMPLATES[name]
    form = FORM[name] if name in SHOWN else "<think>\n{}\n</think>\n\n{}"
    assert read(tok, inline()).endswith(OPENING[name] + form.format(THOUGHT, ANSWER))
    own = FORM[name].format(THOUGHT, ANSWER)
    assert read(tok, inline(own)).endswith(OPENING[name] + own)


@pytest.mark.parametrize("name", [*SHOWN, *KNOWN])
def test_a4_a_thought_of_which_only_the_end_is_told(tok: Any, name: str) -> None:
    tok.chat_template = TEMPLATES[name]
    form = FORM[name] if name in SHOWN else "<think>{}\n</think>\n\n{}"
    if name not in ("deepseek 3.1", "kimi", *SHOWN):
        form = "<think>\n{}\n</think>\n\n{}"
    text = read(tok, inline(f"{THOUGHT}\n</think>\n\n{ANSWER}"))
    assert text.endswith(OPENING[name] + form.format(THOUGHT, ANSWER))


@pytest.mark.parametrize("name", [*SHOWN, *KNOWN])
def test_a4_a_thought_without_an_end(tok: Any, name: str) -> None:
    tok.chat_template = TEMPLATES[name]
    text = read(tok, inline(f"<think>\n{THOUGHT}"))
    assert text.endswith(THOUGHT)
    assert text.count("<think>") == (name not in ("gpt-oss", "magistral")) + (
        name in ("phi 4 reasoning", "granite")
    )


def test_a4_an_empty_thought(tok: Any) -> None:
    for name in ("qwen 3", "r1 distill", "glm"):
        tok.chat_template = TEMPLATES[name]
        text = read(tok, inline(f"<think>\n\n</think>\n\n{ANSWER}"))
        assert text.count("<think>") == text.count("</think>") == 1
        assert text.endswith(ANSWER)


@pytest.mark.parametrize("name", NONE)
@pytest.mark.parametrize("trace", [apart(), inline()])
def test_a4_a_template_without_thoughts_keeps_the_text(
    tok: Any, name: str, trace: al.Trace
) -> None:
    tok.chat_template = TEMPLATES[name]
    text = read(tok, trace)
    assert text.endswith(trace.response)
    asked = [{"role": "user", "content": ASK}]
    want = tok.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    if name == "zephyr":  # ignores the wish for an opening of the turn, which is needed
        want += "<|assistant|>\n"
    assert text == want + trace.response


@pytest.mark.parametrize("name", [n for n in TEMPLATES if n not in ("zephyr", "gpt-oss")])
def test_a4_an_answer_without_a_thought_follows_the_opening(tok: Any, name: str) -> None:
    tok.chat_template = TEMPLATES[name]
    asked = [{"role": "user", "content": ASK}]
    want = tok.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    assert read(tok, inline(ANSWER)) == want + ANSWER


def test_a4_an_answer_has_its_channel(tok: Any) -> None:
    tok.chat_template = TEMPLATES["gpt-oss"]
    final = "<|start|>assistant<|channel|>final<|message|>"
    assert read(tok, inline(ANSWER)).endswith(f"<|end|>{final}{ANSWER}")
    whole = f"<|channel|>final<|message|>{ANSWER}"
    assert read(tok, inline(whole)).endswith(f"<|end|>{final}{ANSWER}")


def test_a4_history_is_the_templates_own_affair(tok: Any) -> None:
    turns = (
        {"role": "user", "content": "1 + 1?"},
        {"role": "assistant", "content": "<think>\none\n</think>\n\n2."},
        {"role": "user", "content": ASK},
    )
    for name in ("r1 distill", "qwen 3", "qwq"):
        tok.chat_template = TEMPLATES[name]
        trace = al.Trace("1", ASK, f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}", turns=turns)
        text = write(tok, trace).text
        assert "one" not in text and THOUGHT in text
        assert text.count("<think>") == 1


def test_a4_smollm_told_not_to_think_thinks_once(tok: Any) -> None:
    tok.chat_template = TEMPLATES["smollm 3"]
    turns = ({"role": "system", "content": "/no_think"}, {"role": "user", "content": ASK})
    trace = al.Trace("1", ASK, f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}", turns=turns)
    assert write(tok, trace).text.count("<think>") == 1


def test_a4_the_policy_is_an_option(tok: Any) -> None:
    tok.chat_template = TEMPLATES["r1 distill"]
    text = f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}"
    assert read(tok, inline(text), think="text").endswith("<|Assistant|><think>\n" + text)
    with pytest.raises(ConfigError, match="think='none': use 'auto' or 'text'"):
        encode_trace(tok, inline(text), think="none")  # type: ignore[arg-type]


def test_a4_steps_cover_the_response_that_was_given(tok: Any) -> None:
    tok.chat_template = TEMPLATES["gpt-oss"]
    trace = apart()
    encoded = encode_trace(tok, trace)
    assert "".join(step.text for step in trace.steps) == trace.response
    control = set(tok.all_special_ids) | {
        i for i, token in tok.added_tokens_decoder.items() if token.special
    }
    rows = [
        {"step": int(k), "start": a, "end": b, "token": trace.response[a:b]}
        for k, (a, b) in zip(encoded.step, encoded.offsets.tolist(), strict=True)
    ]
    assert "".join(piece.text for piece in pieces(rows, trace.response)) == trace.response
    # What the template writes between thought and answer stands for the blank line there.
    place = len(THOUGHT)
    between = [
        (a, b)
        for i, (a, b) in zip(
            encoded.tokens[encoded.response_start :], encoded.offsets.tolist(), strict=True
        )
        if i in control
    ]
    assert set(between) == {(place, place + 2)}
    assert encoded.step[encoded.offsets[:, 0] == place].tolist().count(1) >= len(between)


def test_a_contents_in_the_form_that_the_template_reads(tok: Any) -> None:
    asked = [{"type": "text", "text": "3 + "}, {"type": "text", "text": "4?"}]
    listed = al.Trace("1", ASK, ANSWER, turns=({"role": "user", "content": asked},))
    for name in ("chatml", "qwen 3", "gemma", "magistral"):
        tok.chat_template = TEMPLATES[name]
        assert read(tok, listed) == read(tok, al.Trace("1", ASK, ANSWER))
    # One that reads nothing but parts, and writes nothing of a text.
    tok.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{% for part in m.content if part.type == 'text' %}{{ part.text }}{% endfor %}"
        "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    want = f"<|im_start|>user\n{ASK}<|im_end|>\n<|im_start|>assistant\n{ANSWER}"
    assert read(tok, listed) == read(tok, al.Trace("1", ASK, ANSWER)) == want
    for text in ("<|im_start|>assistant\n", "{# nothing #}"):
        tok.chat_template = text
        with pytest.raises(DataError, match="nothing of what the user says: use template='plain'"):
            encode_trace(tok, listed)


def test_a_several_templates_need_a_default(tok: Any) -> None:
    tok.chat_template = {"rag": TEMPLATES["chatml"], "tool_use": TEMPLATES["chatml"]}
    with pytest.raises(ConfigError, match="rag, tool_use and no default"):
        encode_trace(tok, inline(ANSWER))
    with pytest.raises(ConfigError, match="rag, tool_use and no default"):
        template_identity(tok)
    assert read(tok, inline(ANSWER), template="plain") == f"{ASK}\n{ANSWER}"
    tok.chat_template = {"default": TEMPLATES["chatml"], "tool_use": TEMPLATES["trims"]}
    assert "<|im_start|>user" in read(tok, inline(ANSWER))
    assert template_identity(tok)["template"] == "chat"


def test_a4_a_refusal_is_that_traces_error(tok: Any) -> None:
    tok.chat_template = TEMPLATES["gemma"]
    turns = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": ASK})
    odd = al.Trace("odd", ASK, ANSWER, turns=turns)
    with pytest.raises(DataError, match=r"trace 'odd'.*system, user.*System role not supported"):
        encode_trace(tok, odd)
    tok.chat_template = "{{ messages[0].content.nothing.at.all }}"
    with pytest.raises(DataError, match=r"trace 'odd'.*chat template.*no attribute"):
        encode_trace(tok, odd)
    tok.chat_template = "{% for"
    with pytest.raises(DataError, match=r"trace 'odd'.*chat template"):
        encode_trace(tok, odd)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_identity_of_a_template_is_the_same_every_day(
    tok: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tok.chat_template = TEMPLATES[name]
    found = template_identity(tok)
    assert found["writes_date"] == (name in ("llama 3", "granite"))
    tok.chat_template = TEMPLATES[name] + "{# #}"
    other = template_identity(tok)
    assert other["template_hash"] != found["template_hash"]
    assert other["probe_hash"] == found["probe_hash"]
    tok.chat_template = TEMPLATES[name] + "!"
    assert template_identity(tok)["probe_hash"] != found["probe_hash"]
    assert template_identity(tok, think="text") != template_identity(tok)
    assert template_identity(tok, "plain")["template"] == "plain"


def test_a4_the_policy_is_in_every_measurement(tok: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """``think`` reaches what is scored, and stands in the provenance."""
    from tiny_zoo import tiny

    from airlens.corpus.score_part import Settings
    from airlens.step_influence.single_heads import single_heads
    from airlens.training.evaluate import held_out_nll

    model = tiny("llama")
    monkeypatch.setattr(model.tokenizer, "chat_template", TEMPLATES["r1 distill"])
    trace = inline()
    twice = len("<think>\n")
    n = len(encode_trace(model.tokenizer, trace, think="auto").tokens)
    for think, more in (("auto", 0), ("text", twice)):
        options: dict[str, Any] = {"think": think, "progress": False}
        found = al.influence(model, trace, "L0H1", controls=0, **options)
        row = found.samples.iloc[0]
        assert row["n_tokens"] + row["n_prompt_tokens"] == n + more
        assert found.provenance["written"]["think"] == think
        assert len(al.sources(model, trace, "L0H1", controls=0, **options).tokens) == n + more
        each = al.head_influence(model, trace, "exact", **options)
        assert each.provenance["written"]["think"] == think
        step = found.steps["delta"].to_numpy()
        alone = single_heads(model, trace, "L0H1", think=think)  # type: ignore[arg-type]
        mine = alone.groupby("step")["delta"].mean().to_numpy()
        np.testing.assert_allclose(mine, step, atol=1e-4)
        nll = held_out_nll(model.original_model, model.tokenizer, [trace], **options)
        base = found.tokens["nll_base"].sum()
        np.testing.assert_allclose(nll["nll"].sum(), base, rtol=1e-4)
    assert Settings(think="text").think == "text"
    with pytest.raises(ConfigError, match="think"):
        Settings(think="no")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="think"):
        al.TraceExplorer(model, trace, "L0H1", think="no")  # type: ignore[arg-type]


def test_a4_sources_are_found_in_what_the_template_leaves_of_the_prompt(tok: Any) -> None:
    tok.chat_template = TEMPLATES["qwq"]
    turns = (
        {"role": "user", "content": "  1 + 1? Say.\n"},
        {"role": "assistant", "content": "<think>\none\n</think>\n\nIt is 2."},
        {"role": "user", "content": ASK},
    )
    trace = al.Trace("1", ASK, ANSWER, turns=turns)
    units = units_of(encode_trace(tok, trace))
    texts = [units.encoded.prefix[a:b].strip() for a, b in units.prompt]
    assert texts == ["1 + 1?", "Say.", "It is 2.", ASK]
    tok.chat_template = TEMPLATES["magistral"].replace("+ m.content +", "+ m.content[0].text +")
    parts = [{"type": "text", "text": ASK}]
    trace = al.Trace("1", ASK, ANSWER, turns=({"role": "user", "content": parts},))
    units = units_of(encode_trace(tok, trace))
    assert [units.encoded.prefix[a:b] for a, b in units.prompt] == [ASK]
