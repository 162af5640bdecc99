"""Do the measures of :func:`airlens.sources` find the true sources? Planted and labelled truth."""
