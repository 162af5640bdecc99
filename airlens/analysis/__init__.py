"""Experiments that run the core many times, and statistics over its tables.

Each file answers one question with a DataFrame: what more ablated heads cost, which single heads
matter, how far head sets agree, what a score goes along with, what a selection takes.
May import: the core, reading, engine, detectors, step_sources.
Imported by: corpus, training, validity, explorers, reports, paper, cli.
"""
