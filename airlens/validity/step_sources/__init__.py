"""Do the measures of :func:`airlens.sources` find the true sources? Planted and labelled truth.

`planted` writes traces whose sources are known, `kept` measures and keeps, `planted_tables`,
`labelled_tables` and `contrast` make the tables, `claims` the sentences, `report` all of it.
"""
