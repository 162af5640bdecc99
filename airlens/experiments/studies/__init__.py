"""Trainings side by side: which selection or step weight does better, and is it decided.

`study` runs and reads the arms, `paired_runs` and `arm_differences` compare them over seeds and
problems, `controlled_study` is the one whose truth is known.
"""
