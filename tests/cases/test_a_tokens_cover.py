"""Every character of a response is in a scored token, and no control token is scored."""

from __future__ import annotations

from typing import Any

import pytest
from chat_templates import CHATML
from conftest import word_tokenizer
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

import airlens as al
from airlens.traces.encoding import EncodedTrace, encode_trace


def roberta() -> Any:
    """Byte-level, and spans without the blanks of their tokens."""
    made = word_tokenizer(600)
    inner = made.backend_tokenizer
    inner.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 1), trim_offsets=True, add_prefix_space=False
    )
    return made


def texts(encoded: EncodedTrace) -> list[str]:
    return [encoded.trace.response[a:b] for a, b in encoded.offsets.tolist()]


@pytest.mark.parametrize(
    "response",
    ["Two. Three.", "  Two.\n\nThree. ", "\n", " \t\n ", "a  b\n", "x\u3000y \u00a0", "é  \n\n\n"],
)
@pytest.mark.parametrize("prompt", ["Q", "Q  ", "", " "])
def test_a2_trimmed_spans_lose_no_blank(prompt: str, response: str) -> None:
    made, plain = roberta(), word_tokenizer(600)
    trace = al.Trace("1", prompt, response).with_steps("sentence")
    found, want = encode_trace(made, trace), encode_trace(plain, trace)
    assert "".join(texts_once(found)) == response
    # The tokens are those of the tokenizer that does not trim, and so are their spans and steps;
    # the BOS is in addition.
    assert found.tokens[1:] == want.tokens
    if response.isascii():
        assert found.offsets.tolist() == want.offsets.tolist()
        assert found.step.tolist() == want.step.tolist()


def texts_once(encoded: EncodedTrace) -> list[str]:
    """The response's parts by token; one that several tokens make counts once."""
    parts, at = [], 0
    for a, b in encoded.offsets.tolist():
        parts.append(encoded.trace.response[max(a, at) : b])
        at = max(at, b)
    return parts


def chat(strip: dict[str, bool], special: bool = True) -> Any:
    made = word_tokenizer(600)
    made.add_tokens(
        [AddedToken(n, special=special, **strip) for n in ("<|user|>", "<|assistant|>")]
    )
    made.chat_template = (
        "{% for m in messages %}<|user|>{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    return made


@pytest.mark.parametrize(
    "strip", [{"rstrip": True}, {"lstrip": True}, {"lstrip": True, "rstrip": True}]
)
@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("response", ["\nTwo and two.", " \n Two", "Two", "\n\n", " "])
def test_a3_a_control_token_is_never_response(
    strip: dict[str, bool], special: bool, response: str
) -> None:
    made = chat(strip, special)
    trace = al.Trace("1", "Q", response).with_steps("line")
    encoded = encode_trace(made, trace)
    control = made.convert_tokens_to_ids("<|assistant|>")
    assert control in encoded.tokens[: encoded.response_start]
    assert control not in encoded.tokens[encoded.response_start :]
    if response.strip():
        assert "".join(texts_once(encoded)) == response


def test_a3_an_end_that_the_text_has_is_cut() -> None:
    made = chat({})
    made.add_tokens([AddedToken("<|im_end|>", special=True, lstrip=True)])
    for end in ("<|im_end|>", " <|im_end|>\n", "<|im_end|><|im_end|>", "</s>", "\n</s>\n\n"):
        trace = al.Trace("1", "Q", f"It is 7.{end}").with_steps("sentence")
        encoded = encode_trace(made, trace)
        assert not set(encoded.tokens[encoded.response_start :]) & {2, len(made) - 1}
        assert "".join(texts_once(encoded)).rstrip() == "It is 7."
        assert encoded.spans.shape == (len(encoded.tokens), 2)


def test_a3_an_eos_of_the_tokenizer_is_no_response() -> None:
    made = word_tokenizer(600)
    ids = [("<s>", 1), ("</s>", 2)]
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=ids
    )
    encoded = encode_trace(made, al.Trace("1", "Q", "It is 7. "))
    assert encoded.tokens[0] == 1 and encoded.tokens[-1] != 2
    assert "".join(texts_once(encoded)) == "It is 7. "
    assert encode_trace(made, al.Trace("1", "", "x")).response_start == 1


def test_a_one_bos_under_a_template_that_writes_it() -> None:
    made = word_tokenizer(600)
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    made.chat_template = "{{ bos_token }}" + CHATML
    assert encode_trace(made, al.Trace("1", "Q", "It is 7.")).tokens.count(1) == 1
    made.chat_template = (
        CHATML  # as transformers does it: what the template does not write is not there
    )
    assert encode_trace(made, al.Trace("1", "Q", "It is 7.")).tokens.count(1) == 0
    # Nothing is put before a document but what the tokenizer puts there.
    assert encode_trace(made, al.Trace("1", "", "It is 7.")).tokens.count(1) == 1


def sentencepiece(fallback: bool) -> Any:
    """Unigram with ▁, a dummy prefix, and bytes for what it does not know."""
    names = ["<unk>", "<s>", "</s>", "▁", "▁It", "▁is", "▁7", ".", "\n", *"abcdefgIts7"]
    if fallback:
        names += [f"<0x{i:02X}>" for i in range(256)]
    pieces = [(name, -float(i)) for i, name in enumerate(dict.fromkeys(names))]
    inner = Tokenizer(models.Unigram(pieces, 0, byte_fallback=fallback))
    inner.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", bos_token="<s>")


@pytest.mark.parametrize("fallback", [True, False])
@pytest.mark.parametrize("response", ["It is 7.", " It is 7. ", "é😀 is 7.", "\n\nIt\u3000is", "a"])
@pytest.mark.parametrize("prompt", ["Q is", "", "it 😀 "])
def test_a2_sentencepiece(fallback: bool, prompt: str, response: str) -> None:
    encoded = encode_trace(
        sentencepiece(fallback), al.Trace("1", prompt, response).with_steps("line")
    )
    assert "".join(texts_once(encoded)) == response
    assert encoded.n_response == len(encoded.step)


def wordpiece(lowercase: bool) -> Any:
    """BERT's kind: blanks are dropped, accents stripped, control characters deleted."""
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz0123456789."]
    names += [f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz0123456789"]
    inner = Tokenizer(models.WordPiece({n: i for i, n in enumerate(names)}, unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]")


@pytest.mark.parametrize("response", ["It is\n7.", " Été é. ", "a\x00b c", "ﬁ ½ x", "\n", "ǅ ß İi"])
def test_a2_wordpiece_covers_all_but_blanks(response: str) -> None:
    encoded = encode_trace(wordpiece(True), al.Trace("1", "Q", response).with_steps("line"))
    held = "".join(texts_once(encoded))
    assert held.split() == response.split() or "".join(held.split()) == "".join(response.split())
    assert 3 not in encoded.tokens  # [SEP] is no response


@pytest.mark.parametrize("form", ["NFKC", "NFD", "Lowercase"])
def test_a2_normalised_texts_keep_their_places(form: str) -> None:
    made = word_tokenizer(600)
    made.backend_tokenizer.normalizer = getattr(normalizers, form)()
    text = "Ｆｕｌｌ ﬁt ½ É. İstanbul ǅ. Ⅷ ㎏."
    trace = al.Trace("1", "Q ½", text).with_steps("sentence")
    encoded = encode_trace(made, trace)
    assert "".join(texts_once(encoded)) == text
    assert len(set(encoded.step)) == len(trace.steps) == 3
