"""Results as one HTML file that needs no network: the demo, and a scored corpus.

`html_page` lays a page out; the other files fill it.
"""
