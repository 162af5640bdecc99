"""Questions about the method, answered by running the library many times.

Nothing else needs this folder: `validity` asks what the score reacts to, `paper` reproduces the
papers' figures and compares models, `studies` compares trainings; `agreement` compares detectors,
`needles`, `mirror` and `emergence` ask what the heads are needed for and when they appear.
"""
