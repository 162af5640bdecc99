"""The live explorers: widgets for a notebook, and their scripts."""
