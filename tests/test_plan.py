"""`airlens score --plan`: against counts by hand and by PyTorch, on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from explore_tiny import save_tiny

from airlens.corpus import Corpus
from airlens.corpus.plan import ModelSize, flops_of, memory_of, model_size, plan_score
from airlens.corpus.score_part import CorpusSettings
from airlens.errors import ConfigError, DataError
from airlens.model.files import read_config, read_tokenizer
from airlens.model.planned_devices import GPUS, Device, device_of
from tests.cases.corpus_kit import refused, run, said, write

# 2 layers of 2 heads of 3, width 5, 1 key-value head; 100 numbers in matrices, vocabulary 7.
SIZE = ModelSize(500, 100, 2, 6, 3, 5, 7, 16)


def test_flops_and_memory_by_hand() -> None:
    # 10 tokens, 4 scored: matrices 2·100·10, attention 2·2·6·10², logits 2·5·7·4
    assert flops_of(SIZE, [(10, 4)]) == 2000 + 2400 + 280
    assert flops_of(SIZE, [(10, 4), (3, 3)]) == 4680 + 600 + 216 + 210
    # 3 passes over 10 tokens: weights, and hidden states twice and keys and values, in 2 bytes
    assert memory_of(SIZE, 10, 3, 2) == 2 * (500 + 2 * 3 * 10 * (5 + 3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plan")
    save_tiny(path / "model")
    return path


def test_the_size_is_that_of_the_weights(folder: Path) -> None:
    """And one pass costs what PyTorch counts, but for attention, of which it counts no half."""
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder / "model", attn_implementation="eager")
    size = model_size(read_config(str(folder / "model")))
    cfg = model.config
    assert size.parameters == sum(p.numel() for p in model.parameters())
    layers = model.model.layers
    assert size.matrices == sum(p.numel() for p in layers.parameters() if p.dim() == 2)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 20, dtype=torch.long))
    halved = 2 * cfg.num_hidden_layers * size.heads_width * 20**2
    rotary = 2 * 20 * size.heads_width // cfg.num_attention_heads  # angles, once
    wanted = flops_of(size, [(20, 20)]) + halved
    assert wanted <= counter.get_total_flops() <= wanted + rotary


ROWS = [{"id": f"r{i}", "prompt": "ab", "response": "c" * (10 + 10 * (i % 2))} for i in range(10)]


def test_a_plan_is_the_sum_over_its_rows(folder: Path) -> None:
    tokenizer = read_tokenizer(str(folder / "model"))
    size = model_size(read_config(str(folder / "model")))
    path = write(folder / "d.jsonl", [*ROWS, {"id": "bad"}])
    device = Device("x", {"float32": 1e9}, 1e6, 0.5)
    settings = CorpusSettings(controls=2, template="plain")
    made = plan_score(size, tokenizer, Corpus(str(path)), settings, device, part_rows=4)
    extra = len(tokenizer("")["input_ids"])  # a token at the start
    short, long = 13 + extra, 23 + extra  # a line break after the prompt
    assert (made.rows, made.sample, made.rejected, made.passes) == (11, 11, 1, 4)
    assert (made.tokens, made.longest, made.parts) == (5 * (short + long), long, 3)
    assert made.flops == 4 * 5 * flops_of(size, [(short, 10), (long, 20)])
    assert made.hours == pytest.approx(made.flops / 0.5e9 / 3600)
    assert made.memory == memory_of(size, long, 4, 4) and made.fits == (made.memory <= 1e6)
    # Of a sample all is scaled to the rows that there are.
    few = plan_score(size, tokenizer, Corpus(ROWS), settings, device, sample=2, devices=2)
    assert (few.rows, few.sample) == (10, 2)
    assert few.flops == pytest.approx(made.flops) and few.hours == pytest.approx(made.hours / 2)
    with pytest.raises(DataError, match="none of the first 1 rows"):
        plan_score(size, tokenizer, Corpus([{"prompt": "p", "response": ""}]), settings, device)


def test_a_long_row_runs_in_windows(folder: Path) -> None:
    tokenizer = read_tokenizer(str(folder / "model"))
    size = model_size(read_config(str(folder / "model")), n_ctx=16)
    device, source = Device("x", {"float32": 1e9}, 1e6), Corpus([{**ROWS[0], "response": "c" * 50}])
    cut, stride = (
        plan_score(size, tokenizer, source, CorpusSettings(long=long, template="plain"), device)
        for long in ("cut", "stride")
    )
    first = 16 - 3 - len(tokenizer("")["input_ids"])
    assert cut.flops == 3 * flops_of(size, [(16, first)])
    spans, left = [(16, first)], 50 - first
    while left:
        spans.append((8 + min(8, left), min(8, left)))
        left -= min(8, left)
    assert stride.flops == 3 * flops_of(size, spans)


def test_devices_by_name_and_by_numbers() -> None:
    assert device_of("H100") == GPUS["h100"]
    assert device_of("a100, utilisation=0.5").utilisation == 0.5
    given = device_of("peak=60e12,memory=24e9,utilisation=0.4")
    assert (given.flops["float32"], given.memory, given.utilisation) == (60e12, 24e9, 0.4)
    assert device_of("cpu").memory > 1e8
    for wrong in ("h1000", "", "peak=1e12", "h100,peek=3", "h100,peak=-1", "l4,memory=much"):
        with pytest.raises(ConfigError, match="use h200, h100"):
            device_of(wrong)


def test_the_command_scores_nothing(folder: Path) -> None:
    data = write(folder / "e.jsonl", ROWS)
    how: list[Any] = ["score", data, "--heads", "L0H1", "--model", folder / "model"]
    how += ["--out", folder / "out", "--plan"]
    found = run(*how, "h100", "--controls", "0", "--dtype", "bfloat16")
    assert (found["device"], found["passes"], found["rows"]) == ("h100", 2, 10)
    assert found["peak"] == 989e12 and found["fits"]
    told = said(*how, "l4")
    assert "10 rows" in told and "h on 1 × l4" in told and "3 passes over each row" in told
    assert not (folder / "out").exists()
    assert "use h200, h100" in refused(*how, "h1000")
    assert json.dumps(found)
