"""Every head detector under one name: what the command line and the figures choose from.

A detector takes a model and probes and returns `HeadScores`; each has a file, `by_name` lists them.
The kinds of probes are here too (`…_probes`), and head scores that others published.
May import: the core, reading, engine.
Imported by: analysis, explorers, paper, cli.
"""

from .by_name import DESCRIPTIONS as DESCRIPTIONS
from .by_name import DETECTORS as DETECTORS
from .by_name import READERS as READERS
from .by_name import detect as detect
from .by_name import detect_all as detect_all
