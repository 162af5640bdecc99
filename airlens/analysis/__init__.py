"""Tables made by running the core many times, and statistics over tables of scores."""
