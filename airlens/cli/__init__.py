"""The command line: ``airlens COMMAND --help``. Each command is a file that has its name.

A command reads its options, calls the library, and prints the result.
"""

from .commands import app as app
from .commands import main as main
