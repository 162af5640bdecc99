"""A corpus of any size: read as a stream, scored in parts that survive a crash, and exported.

>>> run = al.score_corpus(model, "data/*.parquet", heads, "runs/x")  # again: it goes on
>>> run.samples, run.folder.read("steps")

`rows` reads it, `run` scores it into the folder that `run_folder` describes, `score_part` scores
one part, `export` writes what was selected.
"""

from .rows import Chunk as Chunk
from .rows import Corpus as Corpus
from .rows import Reject as Reject
from .rows import Row as Row
from .rows import estimate_rows as estimate_rows
from .rows import iter_chunks as iter_chunks
from .rows import iter_rows as iter_rows
