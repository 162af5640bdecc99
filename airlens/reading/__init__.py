"""Reading: traces, data sets and model files, from disk and from the Hugging Face hub."""
