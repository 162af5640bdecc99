"""Cuts of a trace, and what is written behind each: a forcing text and an answer, as tokens.

A text cut after a step goes on with a forcing text that asks for the answer, such as "The final
answer is". Where the cut lies in a thought, the thought is closed first, as the chat template does
it. The forcing text, and what the answer is compared with, are ours; they decide what is measured
(METHOD: try several) and stand in the provenance.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from airlens.errors import ConfigError
from airlens.traces.answers import AnswerFrom, bare_answer, named_answer, states
from airlens.traces.chat_template import Template, Think, thought_span
from airlens.traces.encoding import EncodedTrace
from airlens.traces.trace import Trace

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Ours. A text of one's own may be given in place of a name.
FORCINGS: dict[str, str] = {
    "sentence": "The final answer is",
    "question": "So the answer to the question is",
    "hashes": "####",
    "boxed": "The final answer is \\boxed{",
}
FORCING = "sentence"
Contrast: TypeAlias = Literal["near", "last", "none"]
AnswerOf: TypeAlias = Callable[[Trace], str | None]
FEW = 4  # ours: tokens that a greedy answer may be longer than the answer
_NUMBER = re.compile(r"(?<![\w.,])\d+(?:,\d{3})*(?:\.\d+)?(?![\w])")


@dataclass(frozen=True)
class Cut:
    """A cut of a trace, and what is written behind it.

    Attributes:
        step: the last step before the cut; -1 for none.
        at: tokens before the cut, those of the prompt included.
        forcing: ids of the forcing text, at least one.
        answer: ids of the answer.
        contrast: ids of a wrong answer; empty without one.
    """

    step: int
    at: int
    forcing: tuple[int, ...]
    answer: tuple[int, ...]
    contrast: tuple[int, ...]

    @property
    def most(self) -> int:
        """Tokens of the greedy answer at most."""
        return len(self.answer) + FEW

    @property
    def length(self) -> int:
        """Tokens of the longest text behind the cut, and of all before it."""
        return self.at + len(self.forcing) + max(self.most, len(self.contrast))


@dataclass(frozen=True)
class CutTrace:
    """A trace with its answer and its cuts.

    Attributes:
        encoded: the trace as tokens.
        answer: bare text of the final answer; "" where there is none.
        answer_from: where it was found.
        contrast: the wrong answer, where it is the same at every cut; else "".
        states: of each step, whether it writes the answer.
        cuts: before the first step, and after each step; those that the context holds.
        n_left_out: how many it does not hold.
        written: the cut before the step that writes the answer last, an index of ``cuts``; the
            last cut where no step writes it.
    """

    encoded: EncodedTrace
    answer: str = ""
    answer_from: str = ""
    contrast: str = ""
    states: tuple[bool, ...] = ()
    cuts: tuple[Cut, ...] = ()
    n_left_out: int = 0
    written: int = 0

    @property
    def missing(self) -> str:
        """Why nothing was measured; "" where something was."""
        if not self.answer:
            return "no answer"
        return "" if self.cuts else "longer than the context"

    def span(self, step: int) -> tuple[int, int]:
        """First token of a step in the whole sequence, and one past its last."""
        where = (self.encoded.step == step).nonzero()[0] + self.encoded.response_start
        return (int(where[0]), int(where[-1]) + 1) if len(where) else (0, 0)


def forcing_text(forcing: str) -> str:
    """The forcing text of a name in `FORCINGS`, or the text itself; `ConfigError` if empty."""
    text = FORCINGS.get(forcing, forcing)
    if not text.strip():
        names = ", ".join(FORCINGS)
        raise ConfigError(f"give a text, or one of {names}", argument="forcing", value=forcing)
    return text


def check_contrast(contrast: str | AnswerOf) -> None:
    """:class:`ConfigError` where there is no such contrast."""
    if not callable(contrast) and contrast not in get_args(Contrast):
        names = ", ".join(get_args(Contrast))
        message = f"use one of {names}, or a function of a trace"
        raise ConfigError(message, argument="contrast", value=contrast)


def check_answers(answers: str | AnswerOf) -> None:
    """:class:`ConfigError` where an answer cannot be looked for there."""
    if not callable(answers) and answers not in get_args(AnswerFrom):
        names = ", ".join(get_args(AnswerFrom))
        message = f"use one of {names}, or a function of a trace"
        raise ConfigError(message, argument="answers", value=answers)


def cut_trace(
    tokenizer: PreTrainedTokenizerBase,
    encoded: EncodedTrace,
    n_ctx: int,
    *,
    answers: AnswerFrom | AnswerOf = "auto",
    forcing: str = FORCING,
    contrast: Contrast | AnswerOf = "near",
    template: Template = "auto",
    think: Think = "auto",
) -> CutTrace:
    """The cuts of a trace.

    Args:
        tokenizer: the model's.
        encoded: the trace.
        n_ctx: tokens that the model's context holds.
        answers: where the final answer is named (:func:`named_answer`), or a function.
        forcing: a name in `FORCINGS`, or a text. A blank at its end is written with the answer.
        contrast: a wrong answer. ``near``: the last digit or letter of the answer replaced by the
            next, with as many tokens. ``last``: the last number before the cut that is not the
            answer. ``none``, or a function of the trace.
        template: how the trace was written.
        think: how its thought was written.
    """
    trace = encoded.trace
    text, source = _answer(trace, answers)
    if not text:
        return CutTrace(encoded)
    tails = _Tails(tokenizer, forcing_text(forcing), text)
    wrong = contrast(trace) or "" if callable(contrast) else ""
    if contrast == "near":
        wrong = tails.near()
    steps = trace.whole_steps()
    stated = tuple(states(step.text, text) for step in steps)
    thought = thought_span(tokenizer, trace, template, think)
    cuts: list[Cut] = []
    for step in range(-1, len(steps)):
        at = encoded.response_start + int((encoded.step <= step).sum())
        before = _text_before(encoded, at)
        here = steps[step].end if step >= 0 else 0
        is_open = thought is not None and thought[0] <= here < thought[1]
        cut = tails.cut(step, at, before, thought[2] if thought and is_open else "")
        other = _last_number(before, text) if contrast == "last" else wrong
        cut = replace(cut, contrast=tails.answer(other) if other else ())
        if cut.length > n_ctx:
            break
        cuts.append(cut)
    last = max((i for i, found in enumerate(stated) if found), default=len(steps))
    # Cut number i lies before step i.
    written = min(last, len(cuts) - 1)
    left = len(steps) + 1 - len(cuts)
    return CutTrace(encoded, text, source, wrong, stated, tuple(cuts), left, written)


def _answer(trace: Trace, answers: AnswerFrom | AnswerOf) -> tuple[str, str]:
    if callable(answers):
        return bare_answer(answers(trace) or ""), "function"
    return named_answer(trace, answers) or ("", "")


def _text_before(encoded: EncodedTrace, at: int) -> str:
    """The text before token ``at`` of the whole sequence."""
    return (encoded.prefix + encoded.trace.response)[: int(encoded.spans[:at, 1].max(initial=0))]


def _last_number(text: str, answer: str) -> str:
    """The last number in a text other than the answer; "" without one."""
    others = [n for n in _NUMBER.findall(text) if n.replace(",", "") != answer.replace(",", "")]
    return others[-1] if others else ""


class _Tails:
    """Tokens of what stands behind a cut, each text tokenised once."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, forcing: str, answer: str) -> None:
        self.tokenizer, self.text = tokenizer, answer
        self.forcing = forcing.rstrip(" ")
        # An answer follows a word behind a blank, an opening brace without one.
        blank = "" if re.search(r"[\[({]$", forcing) else " "
        self.joint = forcing[len(self.forcing) :] or blank
        self.known: dict[str, tuple[int, ...]] = {}

    def ids(self, text: str) -> tuple[int, ...]:
        if text not in self.known:
            ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
            self.known[text] = tuple(int(i) for i in ids)
        return self.known[text]

    def answer(self, answer: str) -> tuple[int, ...]:
        """An answer as it is cut into tokens behind the forcing text."""
        before, both = self.ids(self.forcing), self.ids(self.forcing + self.joint + answer)
        if both[: len(before)] == before and len(both) > len(before):
            return both[len(before) :]
        return self.ids(self.joint + answer)

    def cut(self, step: int, at: int, before: str, close: str) -> Cut:
        """The cut behind a text: a line break, or what closes the thought, then forcing text."""
        new_line = not before or before.endswith("\n")
        opening = close or "\n"
        opening = opening.lstrip("\n") if new_line else opening
        return Cut(step, at, self.ids(opening + self.forcing), self.answer(self.text), ())

    def near(self) -> str:
        """The answer with its last digit or option replaced by the next; "" where that fails."""
        if re.fullmatch("[A-Z]", self.text):
            return "A" if self.text != "A" else "B"
        places = [match.start() for match in re.finditer(r"\d", self.text)]
        for place in reversed(places):
            for more in range(1, 10):
                digit = str((int(self.text[place]) + more) % 10)
                if place == 0 and digit == "0":
                    continue
                other = self.text[:place] + digit + self.text[place + 1 :]
                if len(self.answer(other)) == len(self.answer(self.text)):
                    return other
        return ""


def ended(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> int | None:
    """After how many tokens a greedy answer is complete; None where it goes on.

    It ends before the end of the text, a line break after some text, or the full stop of a
    sentence; a number in front of a dot may go on.
    """
    end = tokenizer.eos_token_id
    for i, token in enumerate(tokens):
        so_far = str(tokenizer.decode(list(tokens[: i + 1])))
        if token == end or "\n" in so_far.lstrip():
            return i
        if found := re.search(r"\S([.!?;]|\}\$?)\s", so_far):
            head = [len(str(tokenizer.decode(list(tokens[: k + 1])))) for k in range(i + 1)]
            return next(k for k, length in enumerate(head) if length > found.start(1))
    return None
