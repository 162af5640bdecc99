"""Something to look at: figures, live explorers, a page to send, reports.

Figures take tables and know no model; explorers run one in the background.
"""
