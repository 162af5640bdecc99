"""``airlens status``: progress of a scoring run, also while it is running."""

from __future__ import annotations

from typing import Any

import typer

from .options import AsJson, ScoredFolder, echo_json
from .score import noted


def status(
    folder: ScoredFolder,
    json: AsJson = False,
) -> None:
    """Show the progress of a run: rows, speed, time left, rejects. Safe while it is running."""
    from airlens.corpus.run_record import run_status

    found = run_status(folder)
    if json:
        echo_json(found)
        return
    for line in _lines(found):
        typer.echo(line)


def _lines(found: dict[str, Any]) -> list[str]:
    expected = found.get("expected_rows")
    of = f" of about {expected:,}" if expected else ""
    lines = [
        f"{found['state']}: {found['done']:,} rows in {found['parts']} part"
        f"{'' if found['parts'] == 1 else 's'}; "
        f"{found['rows']:,}{of} read",
        f"{found['tokens_per_s']:,} tokens/s, {found['rows_per_s']} rows/s",
        f"{found['rejects']} rejected, {found['duplicates']} duplicates",
    ]
    if found["state"] == "running" and found.get("eta_s") is not None:
        minutes, seconds = divmod(int(found["eta_s"]), 60)
        lines.append(f"about {minutes} min {seconds} s left")
    lines += [f"  {n} × {why}" for why, n in found.get("reject_reasons", {}).items()]
    lines += [f"  {line}" for line in noted(found)]
    if found.get("error"):
        lines.append(f"error: {found['error']}")
    lines.append(f"fingerprint {found['fingerprint']}")
    return lines
