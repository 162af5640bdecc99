"""Results as one HTML page: the demo's, and that of a scored corpus."""
