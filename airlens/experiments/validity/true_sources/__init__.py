"""Whether the measures of :func:`airlens.sources` find true sources, planted and labelled ones.

`planted_traces` writes traces whose sources are known, `true_pairs` reads labelled ones,
`measured_pairs` measures both, `planted_tables`, `labelled_tables` and `head_contrasts` compare the
measures, `source_claims` says what follows; `source_report` runs all of it.
"""
