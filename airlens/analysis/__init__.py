"""Experiments that run the core many times, and statistics over its tables.

Each file answers one question with a DataFrame: the cost of ablating more heads, the influence of
single heads, the agreement of head sets, what a score correlates with, what a selection contains.
May import: the core, reading, engine, detectors, step_sources.
Imported by: corpus, training, validity, explorers, reports, paper, cli.
"""
