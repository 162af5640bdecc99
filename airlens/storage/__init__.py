"""Folders of results, models and tables, and the cache folder.

May import: the core.
Imported by: all that writes folders.
"""

from .folders import atomic_dir as atomic_dir
from .folders import cache_dir as cache_dir
from .folders import load_tables as load_tables
from .folders import read_table as read_table
from .folders import save_tables as save_tables
from .folders import write_tables as write_tables
