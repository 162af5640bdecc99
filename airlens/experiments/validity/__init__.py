"""Whether a score means what it claims: benchmarks with known answers, and simple rivals.

`planting` writes steps of known worth into traces, `benchmark` measures every score on them,
`auroc_tables` and `added_value` compare the scores, `claims` says what follows. `claim_reports` are
checks on traces as they are, `true_sources` checks the measures of sources, `early_report` early
answers.
"""

from airlens.statistics.auroc import auroc as auroc

from .added_value import MIN_SOURCES as MIN_SOURCES
from .added_value import gain_table as gain_table
from .added_value import held_out as held_out
from .auroc_tables import auroc_table as auroc_table
from .auroc_tables import cells as cells
from .auroc_tables import matching_table as matching_table
from .auroc_tables import score_values as score_values
