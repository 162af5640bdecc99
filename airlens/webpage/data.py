"""The data of a page: tables of influence and sources as the traits of the views.

The same functions fill the widgets of a notebook (:mod:`airlens.explorers.traits`,
:mod:`airlens.explorers.source_traits`). Here what they give is rounded, and what is the same for
all colourings or measures of a trace is kept once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from airlens.explorers.source_traits import (
    event_traits,
    matrix_traits,
    prompt_pieces,
    with_prompt,
)
from airlens.explorers.traits import (
    COLOURS_BY,
    Traits,
    colour_traits,
    grid_traits,
    heads_traits,
    step_heads_traits,
    table_traits,
    text_traits,
)
from airlens.figures.html import margin_number, pieces
from airlens.figures.steps import row_dicts
from airlens.figures.style import floats
from airlens.figures.text import MEASURES, known, label, shorten
from airlens.heads import HeadScores
from airlens.trace import Trace

if TYPE_CHECKING:
    from airlens.measure import Influence
    from airlens.step_sources import Sources

DIGITS = 3  # significant ones of a number on the page
SAMPLE_COLUMNS = ("id", "domain", "n_tokens", "n_steps", "loss_base", "loss_ref")
