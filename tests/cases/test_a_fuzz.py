"""Random chat templates, traces and kinds of tokenizer: what must hold of every trace as tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from conftest import word_tokenizer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)
from transformers import PreTrainedTokenizerFast

import airlens as al
from airlens.errors import ConfigError, DataError
from airlens.step_sources.source_units import units_of
from airlens.traces.chat_template import write
from airlens.traces.encoding import encode_trace

MARKS = ["<|a|>", "<|b|>", "<|end|>"]
ALPHABET = "abcdefghijklmnopqrstuvwxyz"


# Tokenizers -------------------------------------------------------------------------------------


def bytes_only() -> Any:
    names = ["<unk>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    inner = Tokenizer(models.BPE(vocab={n: i for i, n in enumerate(names)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    return wrapped(inner)


def wrapped(inner: Tokenizer) -> Any:
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def words() -> Any:
    return word_tokenizer(900)


def trimmed() -> Any:
    made = words()
    made.backend_tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 1), trim_offsets=True
    )
    return made


def wordpiece() -> Any:
    names = ["<unk>", "<s>", "</s>", *ALPHABET, *"0123456789.,<>|/?!:"]
    names += [f"##{c}" for c in ALPHABET + "0123456789"]
    inner = Tokenizer(models.WordPiece({n: i for i, n in enumerate(names)}, unk_token="<unk>"))
    inner.normalizer = normalizers.BertNormalizer()
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return wrapped(inner)


def unigram(fallback: bool, metaspace: bool) -> Any:
    names = ["<unk>", "<s>", "</s>", "▁", "\n", *ALPHABET, *".,", "▁the", "▁a", "ab", "he"]
    names += [f"<0x{i:02X}>" for i in range(256)] if fallback else []
    pieces = [(name, -float(i + 1)) for i, name in enumerate(names)]
    inner = Tokenizer(models.Unigram(pieces, 0, byte_fallback=fallback))
    if metaspace:
        inner.normalizer = normalizers.NFKC()
        inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    else:
        inner.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return wrapped(inner)


KINDS = {
    "bytes": bytes_only,
    "words": words,
    "trimmed": trimmed,
    "wordpiece": wordpiece,
    "unigram": lambda: unigram(False, True),
    "fallback": lambda: unigram(True, False),
}
STRIPS = [{}, {"rstrip": True}, {"lstrip": True}, {"lstrip": True, "rstrip": True}]


@cache
def tokenizer(kind: str, strip: int) -> Any:
    made = KINDS[kind]()
    made.add_tokens([AddedToken(name, special=True, **STRIPS[strip]) for name in MARKS])
    if strip % 2:
        made.add_tokens([AddedToken(name, special=True) for name in ("<think>", "</think>")])
    return made


# Templates --------------------------------------------------------------------------------------


@dataclass
class Family:
    """The choices that a template makes."""

    bos: bool
    system: str
    strict: bool
    trims: bool
    newline: str
    opens: str
    history: str
    shows: bool
    tools: bool
    ends: str

    def text(self) -> str:
        """The template."""
        content = "m.content | string" + (" | trim" if self.trims else "")
        lines = ["{{ bos_token }}"] if self.bos else []
        if self.tools:
            lines.append("{% if tools %}{{ tools | tojson }}{% endif %}")
        lines.append("{% for m in messages %}")
        if self.strict:
            lines.append(
                "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
                "{{ raise_exception('roles must alternate') }}{% endif %}"
            )
        if self.system != "kept":
            does = "{{ raise_exception('no system role') }}" if self.system == "raises" else ""
            lines.append(f"{{% if m.role == 'system' %}}{does}{{% else %}}")
        lines.append(f"{{% set c = {content} %}}")
        lines.append("{% if m.role == 'assistant' %}")
        if self.history == "stripped":
            lines.append("{% set c = c.split('</think>')[-1] %}")
        lines.append(f"{{{{ '<|b|>' + {self.newline!r} }}}}")
        if self.shows:
            lines.append(
                "{% if m.reasoning_content %}{{ '<think>' + m.reasoning_content + '</think>' }}"
                "{% endif %}"
            )
        lines.append(f"{{{{ c + {self.ends!r} }}}}{{% else %}}")
        lines.append(
            f"{{{{ '<|a|>' + m.role + {self.newline!r} + c + {self.ends!r} }}}}{{% endif %}}"
        )
        if self.system != "kept":
            lines.append("{% endif %}")
        lines.append("{% endfor %}")
        opening = repr("<|b|>" + self.newline + self.opens)
        lines.append(f"{{% if add_generation_prompt %}}{{{{ {opening} }}}}{{% endif %}}")
        return "".join(lines)


FAMILIES = st.builds(
    Family,
    bos=st.booleans(),
    system=st.sampled_from(["kept", "dropped", "raises"]),
    strict=st.booleans(),
    trims=st.booleans(),
    newline=st.sampled_from(["", "\n", " ", "\n\n"]),
    opens=st.sampled_from(["", "", "<think>", "<think>\n", "<think>\n\n</think>\n\n"]),
    history=st.sampled_from(["kept", "stripped"]),
    shows=st.booleans(),
    tools=st.booleans(),
    ends=st.sampled_from(["<|end|>", "<|end|>\n", "\n"]),
)
BROKEN = st.sampled_from(
    ["{{ messages[5].content }}", "{% if", "{{ 1 / 0 }}", "{{ m.a.b }}", "", "x"]
)
TEMPLATES = st.none() | FAMILIES.map(Family.text) | BROKEN

# Traces -----------------------------------------------------------------------------------------

CHARS = st.characters(codec="utf-8", exclude_characters="<>|\x00\ufffd")
TEXT = st.text(st.sampled_from(ALPHABET + " .\n7") | CHARS, max_size=25)
TAGS = st.sampled_from(
    ["", "", "", "<think>", "<think>\n", "</think>", "\n</think>\n\n", "[THINK]"]
)
ENDS = st.sampled_from(["", "", "", " ", "\n", "<|end|>", " <|end|>\n", "</s>"])


@st.composite
def traces(draw: st.DrawFn) -> tuple[al.Trace, str]:
    thought, answer, end = draw(TEXT), draw(TEXT), draw(ENDS)
    prompt, thinking = draw(TEXT), 0
    if draw(st.booleans()):
        response = draw(TAGS) + thought + draw(TAGS) + answer
    else:
        response, thinking = f"{thought}\n\n{answer}", len(thought)
    turns: tuple[dict[str, Any], ...] = ()
    if draw(st.booleans()) and prompt:
        roles = st.sampled_from(["system", "user", "assistant", "user", "tool"])
        said = draw(st.lists(st.tuples(roles, TEXT), max_size=3))
        turns = tuple({"role": role, "content": text} for role, text in said)
        turns = (*turns, {"role": "user", "content": prompt})
    tools = ({"type": "function", "function": {"name": "f"}},) if draw(st.booleans()) else ()
    trace = al.Trace("x", prompt, response + end, turns=turns, tools=tools, thinking=thinking)
    how = draw(st.sampled_from(["sentence", "line", "paragraph", "auto"]))
    return (trace.with_steps(how) if draw(st.booleans()) else trace), end


ANY = given(
    kind=st.sampled_from(list(KINDS)),
    strip=st.integers(0, len(STRIPS) - 1),
    template=TEMPLATES,
    think=st.sampled_from(["auto", "text"]),
    made=traces(),
)


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@ANY
def test_a_any_trace_under_any_template(
    kind: str, strip: int, template: str | None, think: Any, made: tuple[al.Trace, str]
) -> None:
    check(tokenizer(kind, strip), template, think, *made)


@pytest.mark.slow
@settings(max_examples=2000, suppress_health_check=list(HealthCheck))
@ANY
def test_a_any_trace_under_any_template_at_length(
    kind: str, strip: int, template: str | None, think: Any, made: tuple[al.Trace, str]
) -> None:
    check(tokenizer(kind, strip), template, think, *made)


def check(tok: Any, template: str | None, think: Any, trace: al.Trace, end: str) -> None:
    tok.chat_template = template
    try:
        encoded = encode_trace(tok, trace, think=think)
    except (DataError, ConfigError):
        assert template
        return
    written = write(tok, trace, "auto", think)
    n, response = len(encoded.tokens), trace.response
    # The tokens are those of the text; nothing but an end is missing.
    chat = bool(template) and bool(written.prefix)
    ids = tok(written.text, add_special_tokens=not chat)["input_ids"]
    assert encoded.tokens == ids[:n]
    if think == "text" or not template:
        assert written.text == written.prefix + response
    # Each character that is no blank is in a scored token, but an end that the text has.
    seen = np.zeros(len(response), dtype=bool)
    for a, b in encoded.offsets.tolist():
        assert 0 <= a <= b <= len(response)
        seen[a:b] = True
    body = response[: len(response) - len(end)] if end.strip() else response
    missing = {c for c, there in zip(body, seen, strict=False) if not there and not c.isspace()}
    # A tokenizer may delete all that there is.
    assert not missing or not (encoded.n_response or any(map(str.isalnum, missing))), missing
    # No control token is scored, but those which the template puts in place of a thought's tags.
    own = {(a, b) for text, a, b in written.pieces if text != response[a:b]}
    scored = list(
        zip(encoded.tokens[encoded.response_start :], encoded.offsets.tolist(), strict=True)
    )
    marks = set(tok.convert_tokens_to_ids(MARKS)) | {1, 2}
    assert not [i for i, (a, b) in scored if i in marks and (a, b) not in own]
    # Steps ascend, and each token is in that of its first character that is no blank.
    assert (np.diff(encoded.step) >= 0).all()
    steps = trace.whole_steps()
    for place, (a, b) in zip(encoded.step.tolist(), encoded.offsets.tolist(), strict=True):
        text = response[a:b]
        first = a + (len(text) - len(text.lstrip()) if text.strip() else 0)
        assert steps[place].start <= first <= steps[place].end
    groups = units_of(encoded)
    assert len(groups.group) == n
    # The tag of a thought stands once where the response has it once, at its beginning.
    opened = response.lstrip().startswith("<think>") and response.count("<think>") == 1
    if think == "auto" and template and opened and trace.prompt:
        tail = written.text[len(written.text) - len(response) - 30 :]
        assert tail.count("<think>") <= 1 or "<think>" not in template
