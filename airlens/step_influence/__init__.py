"""step_influence."""
