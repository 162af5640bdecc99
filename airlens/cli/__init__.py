"""The command line: ``airlens COMMAND --help``. Each command is a file that has its name.

A command reads its options, calls the library, and prints the result.
May import: everything, when a command runs; ``airlens --help`` imports nothing heavy.
Imported by: nothing.
"""

from .commands import app as app
from .commands import main as main
