"""Folders of results, models and tables, and the cache folder.

What the core needs to save its own results is in `airlens.files`.
May import: the core.
Imported by: all that writes folders.
"""

from .folders import atomic_dir as atomic_dir
from .folders import cache_dir as cache_dir
from .folders import write_tables as write_tables
