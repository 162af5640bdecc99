"""How a model's chat template writes a trace: the turns before the response, and a thought in it.

The response of a reasoning model is a thought and an answer. Where a template has a way of writing
the two, a trace is written in that way. It is found out by letting the template write marked texts
and looking where they stand, because a template is a program. Nothing else is assumed of it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, get_args
from weakref import WeakKeyDictionary

import numpy as np

from airlens.arguments import named, reader
from airlens.errors import ConfigError, DataError
from airlens.provenance import fingerprint

from .trace import Trace

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


log = logging.getLogger(__name__)
Template: TypeAlias = Literal["auto", "chat", "plain"]
Think: TypeAlias = Literal["auto", "text"]
Turns: TypeAlias = Sequence[Mapping[str, Any]]

# Raised whenever the same trace is written or cut into steps in another way than before, so that
# stored results are not mistaken for those of today.
ENCODING = 2

# Tags around a thought. Only a template that mentions one of them is taken to use it.
KNOWN_TAGS: tuple[tuple[str, str], ...] = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("◁think▷", "◁/think▷"),
)
# What templates call the switch of thinking. Others ignore it.
SWITCHES = {"enable_thinking": True, "thinking": True}
# Marked texts. No template would write them by itself.
ASKED, THOUGHT, ANSWERED = "qmarkq", "tmarkt", "amarka"
# The first and the last tag of a text: "<think>", "[THINK]".
_TAG = r"(<[^<>\s]{1,40}>|\[[^\[\]\s]{1,40}\]|◁[^◁▷\s]{1,40}▷)"
_FIRST_TAG, _LAST_TAG = re.compile(rf"\s*{_TAG}"), re.compile(rf"{_TAG}\s*\Z")

reader("Template")(named(get_args(Template)))
reader("Think")(named(get_args(Think)))


def resolve_template(tokenizer: PreTrainedTokenizerBase, template: Template) -> Template:
    """``auto`` is ``chat`` where there is a chat template, else ``plain``; or `ConfigError`."""
    has_chat = bool(getattr(tokenizer, "chat_template", None))
    if template != "plain":
        _check_one(getattr(tokenizer, "chat_template", None))
    if template == "auto":
        return "chat" if has_chat else "plain"
    if template not in ("chat", "plain"):
        raise ConfigError(f"template={template!r}: use 'auto', 'chat' or 'plain'")
    if template == "chat" and not has_chat:
        raise ConfigError("template='chat', but the tokenizer has no chat template; use 'plain'")
    return template


def _check_one(templates: object) -> None:
    """:class:`ConfigError` where a tokenizer has several chat templates and none by default."""
    if isinstance(templates, Mapping) and "default" not in templates:
        names = ", ".join(map(str, templates))
        raise ConfigError(
            f"the tokenizer has the chat templates {names} and no default: set "
            "tokenizer.chat_template to one of them, or use template='plain'"
        )


def check_think(think: str) -> None:
    """:class:`ConfigError` where ``think`` is no such policy."""
    if think not in ("auto", "text"):
        raise ConfigError("use 'auto' or 'text'", argument="think", value=think)


def render(
    tokenizer: PreTrainedTokenizerBase,
    turns: Turns,
    tools: Sequence[Any] = (),
    *,
    opening: bool = True,
    thinking: bool = False,
    template: str | None = None,
) -> str:
    """The turns under the chat template, and with ``opening`` the start of the assistant's turn.

    Args:
        tokenizer: whose template it is.
        turns: of the chat.
        tools: definitions of tools.
        opening: write what stands before the next turn of the assistant.
        thinking: turn on the template's switch of thinking, where it has one.
        template: used in place of the tokenizer's own.

    Raises:
        DataError: the template refuses these turns, or fails on them; says why.
    """
    try:
        made = tokenizer.apply_chat_template(
            [dict(turn) for turn in turns],
            tools=list(tools) or None,
            chat_template=template,
            tokenize=False,
            add_generation_prompt=opening,
            **(SWITCHES if thinking else {}),
        )
    except Exception as error:  # a template is a program, and may raise whatever it likes
        name = str(getattr(tokenizer, "name_or_path", "") or "")
        reason = f"{error}".strip() or type(error).__name__
        raise DataError(
            f"the chat template{f' of {name}' if name else ''} cannot write these turns "
            f"({', '.join(str(turn.get('role')) for turn in turns)}): {reason}",
            field="turns",
        ) from error
    return str(made)


@dataclass(frozen=True)
class Manner:
    """How a chat template writes a turn of the assistant.

    Attributes:
        start: what has to be added to its opening of the turn: nothing, but of a template that
            ignores the wish for one.
        plain: what stands between the opening and an answer without a thought, such as a channel.
        open: what stands before a thought.
        close: what stands between a thought and an answer.
        tags: those of a thought, ("<think>", "</think>"); None where the template knows none.
        shown: the template itself writes a thought that it is given. Others leave it out of the
            turns before, or only open it.
        parts: the template reads contents as lists of parts only.
        deaf: the template writes nothing of what the user says, in whichever form.
    """

    start: str = ""
    plain: str = ""
    open: str = ""
    close: str = ""
    tags: tuple[str, str] | None = None
    shown: bool = False
    parts: bool = False
    deaf: bool = False

    def without_thought(self, text: str) -> str:
        """``text``, the start of a turn, without a thought that it opens or leaves empty."""
        if self.tags is None:
            return text
        opened, closed = map(re.escape, self.tags)
        return re.sub(rf"(?:{opened}\s*)?(?:{closed}\s*)?\Z", "", text, count=1)

    def before_plain(self, response: str, think: Think) -> str:
        """What stands between the opening of the turn and a response without a thought."""
        mark = _FIRST_TAG.match(self.plain)
        given = think == "text" or (mark is not None and response.lstrip().startswith(mark[1]))
        return "" if given else self.plain


_MANNERS: WeakKeyDictionary[Any, tuple[Any, Manner]] = WeakKeyDictionary()


def manner_of(tokenizer: PreTrainedTokenizerBase) -> Manner:
    """How the tokenizer's chat template writes a turn of the assistant."""
    known = _MANNERS.get(tokenizer)
    template = tokenizer.chat_template
    if known is None or known[0] != template:
        known = _MANNERS[tokenizer] = (template, _probe(tokenizer))
    return known[1]


def _probe(tokenizer: PreTrainedTokenizerBase) -> Manner:
    asked: Mapping[str, Any] = {"role": "user", "content": ASKED}
    answered: Mapping[str, Any] = {"role": "assistant", "content": ANSWERED}
    first = _tried(tokenizer, asked, opening=True)
    listed = _tried(tokenizer, *with_contents([asked], True), opening=True)
    parts = ASKED not in (first or "") and ASKED in (listed or "")
    if parts:
        asked, answered = with_contents([asked, answered], True)
    elif first is not None and ASKED not in first:
        return Manner(deaf=True)
    opened = (listed if parts else first) or ""
    bare = _tried(tokenizer, asked)
    head = (_tried(tokenizer, asked, answered) or "").partition(ANSWERED)[0]
    mentioned = _mentioned(opened or head, str(tokenizer.chat_template))
    start = ""
    if opened == bare and head.startswith(opened):
        # The wish for an opening is ignored, so it is what stands before an answer.
        start = Manner(tags=mentioned).without_thought(head)[len(opened) :]
        start = start if start.strip() else ""
    opened += start
    manner = _of_shown(tokenizer, asked, opened) or _of_mentioned(mentioned, opened, head)
    plain = head[len(opened) :] if head.startswith(opened) else ""
    if not plain.strip() or (manner.tags and plain.lstrip().startswith(manner.tags)):
        plain = ""  # blanks of the answer's own, or the template's word that nothing was thought
    return replace(manner, start=start, plain=plain, parts=parts)


def with_contents(turns: Turns, parts: bool) -> list[Mapping[str, Any]]:
    """The turns, their contents as lists of parts or as one text; other parts stay as they are."""
    made = []
    for turn in turns:
        content = turn.get("content")
        if parts and isinstance(content, str):
            turn = {**turn, "content": [{"type": "text", "text": content}]}
        elif not parts and isinstance(content, list | tuple):
            texts = [part.get("text") if isinstance(part, Mapping) else part for part in content]
            if all(isinstance(text, str) for text in texts):
                turn = {**turn, "content": "".join(map(str, texts))}
        made.append(turn)
    return made


def _tried(
    tokenizer: PreTrainedTokenizerBase, *turns: Mapping[str, Any], opening: bool = False
) -> str | None:
    """The turns as the template writes them; None where it refuses them."""
    try:
        return render(tokenizer, turns, opening=opening, thinking=True)
    except DataError:
        return None


def _of_shown(
    tokenizer: PreTrainedTokenizerBase, asked: Mapping[str, Any], opened: str
) -> Manner | None:
    """How the template writes a thought that it is given; None where it leaves it out."""
    fields = dict.fromkeys(("reasoning_content", "reasoning", "thinking"), THOUGHT)
    ways: tuple[dict[str, Any], ...] = (
        {"role": "assistant", "content": ANSWERED, **fields},
        *(
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": thought},
                    {"type": "text", "text": ANSWERED},
                ],
            }
            for thought in ([{"type": "text", "text": THOUGHT}], THOUGHT)
        ),
    )
    for turn in ways:
        text = _tried(tokenizer, asked, turn) or ""
        found = re.search(rf"(?<!['\"]){THOUGHT}(?!['\"])(.*?){ANSWERED}", text, re.DOTALL)
        # In quotes: the template wrote the fields out as they are.
        if found is None or not found[1].strip():
            continue
        before, close = text[: found.start()], found[1]
        tag = before[len(opened) :].strip() if before.startswith(opened) else ""
        if not tag and (last := _LAST_TAG.search(before)):
            tag = last[1]  # the opening of the turn opens the thought too
        if not tag:
            continue
        manner = Manner(tags=(tag, close.strip()), close=close, shown=True)
        base = manner.without_thought(opened)
        return replace(manner, open=before[len(base) :] if before.startswith(base) else tag)
    return None


def _mentioned(opened: str, template: str) -> tuple[str, str] | None:
    """The tags of a thought with which a turn opens, or that the template's text mentions."""
    for tags in KNOWN_TAGS:
        if opened.rstrip().endswith(tags) or any(tag in template for tag in tags):
            return tags
    return None


def _of_mentioned(tags: tuple[str, str] | None, opened: str, head: str) -> Manner:
    """How a template that writes no thought means it to be written.

    ``opened``: the opening of a turn, ``head``: what stands before an answer without a thought.
    """
    if tags is None:
        return Manner()
    empty = re.search(rf"({re.escape(tags[0])}\s*?)(\s*{re.escape(tags[1])}\s*)\Z", head)
    if empty:  # "<think></think>", "<think>\n\n</think>\n\n"
        blanks = len(empty[2]) - len(empty[2].lstrip())
        opening = tags[0] + empty[2][: blanks // 2]
        return Manner(tags=tags, open=opening, close=empty[2][blanks // 2 :])
    manner = Manner(tags=tags)
    opening = opened[len(manner.without_thought(opened)) :]
    if opening.strip() != tags[0]:
        opening = tags[0] + "\n"
    line = "\n" if "\n" in opening else ""
    return replace(manner, open=opening, close=f"{line}{tags[1]}{line}{line}")


@dataclass(frozen=True)
class Written:
    """A trace as the text that a model reads.

    Attributes:
        prefix: what stands before the response.
        pieces: the response in pieces (text, start, end): the text that is written for the
            characters [start, end) of the response. It is their own, but where a template writes
            the tags of a thought in its own way.
    """

    prefix: str
    pieces: tuple[tuple[str, int, int], ...]

    @property
    def text(self) -> str:
        """All of it."""
        return self.prefix + "".join(text for text, _, _ in self.pieces)

    def places(self, spans: np.ndarray) -> np.ndarray:
        """Spans in `text`, int [n, 2], as spans in the prefix and the response as it was given.

        What is written for some characters of the response in another way stands for all of them.
        """
        if len(self.pieces) == 1:
            return spans  # the response as it is
        n = len(self.prefix)
        first, stop = [np.arange(n)], [np.arange(n) + 1]
        for text, start, end in self.pieces:
            own = len(text) == end - start
            first.append(np.arange(start, end) + n if own else np.full(len(text), start + n))
            stop.append(first[-1] + 1 if own else np.full(len(text), end + n))
        firsts, stops = (
            np.concatenate([*each, [n + self.pieces[-1][2]]]) for each in (first, stop)
        )
        begin = firsts[spans[:, 0]]
        last = np.where(spans[:, 1] > spans[:, 0], stops[spans[:, 1] - 1], begin)
        return np.stack([begin, last], axis=1)


def write(
    tokenizer: PreTrainedTokenizerBase,
    trace: Trace,
    template: Template = "auto",
    think: Think = "auto",
) -> Written:
    """A trace under the chat template, or as plain text.

    Args:
        tokenizer: whose template it is.
        trace: with a thought apart (`Trace.thinking`), between tags, or without.
        template: ``chat``, ``plain`` (the prompt, a newline and the response), or ``auto``.
        think: ``auto`` writes a thought as the template does, once, and leaves the response as it
            is where the template knows no thoughts; ``text`` puts the response as it is behind the
            template's opening of the turn.

    Raises:
        ConfigError: no such template or policy.
        DataError: the chat template cannot write these turns.
    """
    check_think(think)
    whole = ((trace.response, 0, len(trace.response)),)
    if not trace.prompt and not trace.turns:
        return Written("", whole)
    if resolve_template(tokenizer, template) == "plain":
        return Written(prompt_text(tokenizer, trace, "plain"), whole)
    manner = manner_of(tokenizer)
    parts = None if think == "text" else _thought(trace, manner)
    opened = prompt_text(tokenizer, trace, "chat", thinking=parts is not None)
    if parts is None:
        return Written(opened + manner.before_plain(trace.response, think), whole)
    return _with_thought(manner.without_thought(opened), trace, manner, parts)


def prompt_text(
    tokenizer: PreTrainedTokenizerBase,
    trace: Trace,
    template: Template,
    *,
    thinking: bool = False,
) -> str:
    """The text with which a model is asked: the turns before the response, and its opening.

    ``chat``: the turns of `Trace.chat` under the chat template, and the opening of the assistant's
    turn. ``plain``: the prompt and a newline. An empty prompt (a document) stays empty in both.

    Args:
        tokenizer: whose template it is.
        trace: whose prompt it is.
        template: see :func:`write`.
        thinking: turn on the template's switch of thinking, where it has one.

    Raises:
        ConfigError, DataError: as :func:`write`.
    """
    if not trace.prompt and not trace.turns:
        return ""
    if resolve_template(tokenizer, template) == "plain":
        return trace.prompt + "\n" if trace.prompt else ""
    manner = manner_of(tokenizer)
    if manner.deaf:
        reason = "the chat template writes nothing of what the user says: use template='plain'"
        raise DataError(reason, field="turns")
    turns = with_contents(trace.chat(), manner.parts)
    return render(tokenizer, turns, trace.tools, thinking=thinking) + manner.start


class _Thought(NamedTuple):
    """Where a thought lies in a response: blanks and tags are outside of [start, end)."""

    start: int
    end: int
    answer: int
    closed: bool


def _thought(trace: Trace, manner: Manner) -> _Thought | None:
    """The thought in a response, given apart or between tags that the template knows."""
    text = trace.response
    if manner.tags is None:
        return None
    for opened, closed in dict.fromkeys((manner.tags, KNOWN_TAGS[0])):
        begin = re.match(rf"\s*{re.escape(opened)}\s*", text)
        start = begin.end() if begin else _after_blanks(text, 0)
        at = text.find(closed, start)
        if begin or (at >= 0 and not trace.thinking):
            end = at if at >= 0 else len(text)
            answer = _after_blanks(text, end + len(closed)) if at >= 0 else end
            return _Thought(start, _before_blanks(text, start, end), answer, at >= 0)
    if not trace.thinking:
        return None
    start, answer = _after_blanks(text, 0), _after_blanks(text, trace.thinking)
    end = _before_blanks(text, start, trace.thinking)
    return _Thought(start, end, answer, answer < len(text))


def _after_blanks(text: str, at: int) -> int:
    return len(text) - len(text[at:].lstrip())


def _before_blanks(text: str, start: int, end: int) -> int:
    return start + len(text[start:end].rstrip())


def _with_thought(turn: str, trace: Trace, manner: Manner, thought: _Thought) -> Written:
    """A trace with a thought; ``turn`` is the prompt and the opening of a turn without thought."""
    response, n = trace.response, len(trace.response)
    start, end, answer, closed = thought
    tagged = bool(response[:start].strip())
    if not manner.shown and not trace.thinking:
        # The response has tags of its own, and the template does not say how it would write them.
        return Written(turn if tagged else turn + manner.open, ((response, 0, n),))
    if not closed:
        end = n
    pieces = [(response[start:end], start, end)]
    if tagged:
        pieces.insert(0, (manner.open, 0, start))
    if closed:
        close = manner.close if answer < n else manner.close.rstrip()
        pieces += [(close, end, answer), (response[answer:], answer, n)]
    return Written(turn if tagged else turn + manner.open, tuple(pieces))


def thought_span(
    tokenizer: PreTrainedTokenizerBase,
    trace: Trace,
    template: Template = "auto",
    think: Think = "auto",
) -> tuple[int, int, str] | None:
    """Where the thought in a response is open, and what closes it if the text is cut there.

    Args are those of :func:`write`.

    Returns:
        (first character of the response at which a cut would leave the thought open, the first one
        at which it is closed, the text that closes it); a thought that the response never closes
        ends beyond it. None where it has no thought.
    """
    text = trace.response
    never = len(text) + 1
    prefix = write(tokenizer, trace, template, think).prefix
    chat = resolve_template(tokenizer, template) == "chat" and bool(prefix)
    manner = manner_of(tokenizer) if chat and think == "auto" else Manner()
    found = _thought(trace, manner)
    if found is not None:
        begin = found.start if text[: found.start].strip() else 0  # behind a tag of its own
        return begin, (found.answer if found.closed else never), manner.close
    for opened, closed in KNOWN_TAGS:
        own = re.match(rf"\s*{re.escape(opened)}", text)
        if own or prefix.rstrip().endswith(opened) or closed in text:
            at = text.find(closed)
            end = at + len(closed) if at >= 0 else never
            return (own.end() if own else 0), end, f"\n{closed}\n\n"
    return None


# Two days, as the formats of `strftime` write them.
_DAYS = (
    {"%d": "26", "%m": "07", "%b": "Jul", "%B": "July", "%Y": "2024", "%y": "24"},
    {"%d": "03", "%m": "11", "%b": "Nov", "%B": "November", "%Y": "2031", "%y": "31"},
)


def template_identity(
    tokenizer: PreTrainedTokenizerBase, template: Template = "auto", think: Think = "auto"
) -> dict[str, Any]:
    """What decides how a trace is written and cut into tokens; equal for equal results.

    A template may write today's date. The hashes are then those of one fixed day, so that the
    identity of a run does not change over night.

    Returns:
        template ("chat" or "plain"), encoding (changes with airlens' own rules), probe_hash (of
        texts as they are written, and their tokens); and for chat think, template_hash (of its
        text) and writes_date (whether it writes today's date).

    Raises:
        ConfigError: no such template or policy.
    """
    check_think(think)
    kind = resolve_template(tokenizer, template)
    found: dict[str, Any] = {"template": kind, "encoding": ENCODING}
    if kind == "plain":
        return {**found, "probe_hash": _hash_of_tokens(tokenizer, [PROBE], True)}
    source = tokenizer.get_chat_template()
    texts, other = (_probe_texts(tokenizer, _on_day(source, day)) for day in _DAYS)
    return {
        **found,
        "think": think,
        "template_hash": fingerprint({"template": tokenizer.chat_template}),
        "probe_hash": _hash_of_tokens(tokenizer, texts, False),
        "writes_date": texts != other,
    }


def template_note(
    tokenizer: PreTrainedTokenizerBase, template: Template, think: Think
) -> dict[str, Any]:
    """The part of a result's provenance that says how its texts were written.

    Returns:
        template ("chat" or "plain") and written, the rest of :func:`template_identity`, with the
        date of today where the template writes it, which is also logged.
    """
    found = template_identity(tokenizer, template, think)
    if found.get("writes_date"):
        found["date"] = date.today().isoformat()
        _say_date(str(getattr(tokenizer, "name_or_path", "")), found["date"])
    return {"template": found.pop("template"), "written": found}


@cache
def _say_date(name: str, today: str) -> None:
    log.warning(
        "the chat template%s writes today's date (%s) into every prompt: on another day the same "
        "run gives slightly other numbers",
        f" of {name}" if name else "",
        today,
    )


PROBE = "Ann has 3 apples.\n\nBert buys 4 more, so 3 + 4 = 7."


def _on_day(source: str, day: Mapping[str, str]) -> str:
    """The template with its date function replaced by one that knows a single day."""
    if "strftime_now" not in source:
        return source
    filters = "".join(f" | replace('{key}', '{text}')" for key, text in day.items())
    macro = f"{{% macro strftime_now(format) %}}{{{{ format{filters} }}}}{{% endmacro %}}"
    return macro + source


def _probe_texts(tokenizer: PreTrainedTokenizerBase, source: str) -> list[str]:
    """A few conversations as the template writes them; empty where it refuses one."""
    asked = {"role": "user", "content": PROBE}
    system = {"role": "system", "content": THOUGHT}
    answered = {"role": "assistant", "content": ANSWERED, "reasoning_content": THOUGHT}
    texts = []
    for turns in ([asked], [system, asked], [asked, answered], [asked, answered, asked]):
        try:
            opening = turns[-1] is asked
            texts.append(render(tokenizer, turns, opening=opening, template=source))
        except DataError:
            texts.append("")
    return texts


def _hash_of_tokens(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], add_special_tokens: bool
) -> str:
    ids = [tokenizer(text, add_special_tokens=add_special_tokens)["input_ids"] for text in texts]
    return fingerprint({"texts": list(texts), "ids": [list(map(int, row)) for row in ids]})
