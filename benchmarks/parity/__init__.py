"""Our numbers beside those of published code, run as it stands in a checkout of yours."""
