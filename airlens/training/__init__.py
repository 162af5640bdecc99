"""Fine-tuning on what was selected, and what it brought."""
