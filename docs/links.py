"""Print the Binder and Colab links of every notebook, for the place this checkout was cloned from.

`python docs/links.py [OWNER/REPO]`
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def repository(address: str) -> str:
    """`OWNER/REPO` of a GitHub address, whichever way it is written.

    Raises:
        ValueError: it is no address on GitHub.
    """
    match = re.search(r"(?:github\.com[/:])?([\w.-]+/[\w.-]+?)(?:\.git)?/?$", address)
    if match is None or ("://" in address and "github.com" not in address):
        raise ValueError(f"{address!r} is not on GitHub: give OWNER/REPO")
    return match[1]


def links(name: str) -> list[tuple[str, str, str]]:
    """(notebook, Binder link, Colab link) of every notebook."""
    found = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        at = f"notebooks/{path.name}"
        binder = f"https://mybinder.org/v2/gh/{name}/HEAD?urlpath=lab/tree/{at}"
        colab = f"https://colab.research.google.com/github/{name}/blob/main/{at}"
        found.append((path.stem, binder, colab))
    return found


def _ask(command: list[str]) -> str:
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    return found.stdout.strip()


def main(arguments: list[str]) -> int:
    """Print the links; 1 if it is not known where the repository lies."""
    ask = ["git", "-C", str(ROOT), "remote", "get-url", "origin"]
    try:
        address = arguments[0] if arguments else _ask(ask)
        name = repository(address)
    except (subprocess.CalledProcessError, FileNotFoundError, ValueError) as error:
        reason = getattr(error, "stderr", None) or str(error)
        sys.stderr.write(f"which repository? {reason.strip()}; give OWNER/REPO\n")
        return 1
    for notebook, binder, colab in links(name):
        sys.stdout.write(f"{notebook}\n  {binder}\n  {colab}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
