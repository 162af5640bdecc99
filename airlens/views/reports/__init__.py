"""Results as one HTML file that needs no network: the demo, and a scored corpus.

>>> corpus_report(al.RunFolder("runs/x")).write("report.html")

`html_page` lays a page out; the other files fill it.
"""
