"""Seeded generators of the bundled data: phrase banks and trace writers (stdlib only)."""
