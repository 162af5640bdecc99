"""The papers' figures at our scale, made without a notebook."""
