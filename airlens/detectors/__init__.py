"""Which heads copy from the context: probes, and one score of every head for each detector.

>>> probes = al.key_value_probes(model.tokenizer, n=12)
>>> scores = al.retrieval_scores(model, probes)  # or al.detect(model, probes, "induction")

`retrieval` is the papers' own detector, the files `…_probes` make what is read, `detect` lists all
detectors.
"""
