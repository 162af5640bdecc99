"""One page to share: a trace, its heads and its sources in one interactive HTML file.

>>> al.page(result, sources, traces, scores, "page.html")

It opens from disk, without a network and without Python; see :func:`page`. `data` turns tables into
what the views show, `page_script` and `body` make the rest of the file.
"""

from .page_file import page as page
from .page_file import page_html as page_html
