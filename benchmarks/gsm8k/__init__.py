"""The study on GSM8K: selections and step weights, by held-out NLL and, on a GPU, by accuracy."""
