"""What a trained student makes of the held-out problems."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airlens.traces.chat_template import prompt_text
from airlens.training.examples import Example, training_examples

from .pool import HeldOut
from .student import Prompts, Student, greedy, lower_outputs, read_prompts, read_references
from .tasks import stated_answer

MAX_NEW = 112  # tokens: a restated prompt and a solution of three hops fit


@dataclass(frozen=True)
class Exam:
    """Held-out problems, passed through the frozen layers once.

    Attributes:
        held_out: the problems.
        examples: their reference solutions as tokens.
        hidden: output of the frozen layers for them.
        prompts: ready to be answered.
    """

    held_out: HeldOut
    examples: list[Example]
    hidden: list[Any]
    prompts: Prompts


def make_exam(student: Student, tokenizer: Any, held_out: HeldOut) -> Exam:
    """Pass prompts and solutions through the frozen layers."""
    traces = held_out.traces
    examples = training_examples(tokenizer, traces, template="plain")
    hidden = lower_outputs(student, [e["input_ids"] for e in examples])
    prompts = [tokenizer(prompt_text(tokenizer, t, "plain"))["input_ids"] for t in traces]
    return Exam(held_out, examples, hidden, read_prompts(student, prompts))


def take(student: Student, tokenizer: Any, exam: Exam) -> list[dict[str, Any]]:
    """One row a problem: id, tokens, nll (summed), correct, and what was written.

    A text ends where its first answer is stated: later ones do not count. Where every token of the
    reference solution is the student's first choice, it is what greedy decoding writes, and is not
    generated.
    """
    seen = read_references(student, exam.examples, exam.hidden)
    traces = exam.held_out.traces
    texts = {i: traces[i].response for i, reference in enumerate(seen) if reference.written}
    open_rows = [i for i in range(len(seen)) if i not in texts]
    if open_rows:
        ids = greedy(
            student, exam.prompts.subset(open_rows), tokenizer.eos_token_id, MAX_NEW,
            done=lambda ids: stated_answer(tokenizer.decode(ids) + " ") is not None,
        )  # fmt: skip
        texts |= dict(zip(open_rows, tokenizer.batch_decode(ids), strict=True))
    rows = []
    for i, (problem, reference) in enumerate(zip(exam.held_out.problems, seen, strict=True)):
        row = {"id": traces[i].id, "tokens": reference.n, "nll": reference.nll}
        rows.append({**row, "correct": problem.solves(texts[i]), "text": texts[i]})
    return rows
