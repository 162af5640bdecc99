"""What a live view leaves in a notebook: beside the widget its static form, for a dead kernel."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import ipywidgets as w
from markupsafe import Markup

from airlens.views.html_file import rendered

from .jobs import Worker


class LiveView(w.VBox):  # type: ignore[misc]
    """A view that leaves a static form of itself in the notebook, where it is displayed.

    These are two outputs of one cell: the widget, and HTML without scripts. The HTML is hidden
    while the widget lives (``static/airlens.css``). One output with both would not do: JupyterLab
    and nbviewer take the widget, also where no kernel is left that knows it.
    """

    def __init__(self, children: list[Any], *workers: Worker) -> None:
        """``workers``: the static form is written anew whenever one of them has ended a job."""
        self._left: list[Any] = []
        super().__init__(children, layout={"width": "100%"})
        self.add_class("airlens-live")
        for worker in workers:
            worker.ended.append(self.leave)

    @abstractmethod
    def static_body(self) -> Markup:
        """What the view shows now, as HTML without scripts; every value in it escaped."""

    def static_html(self) -> Markup:
        """The static form: how to make the view live again, and what it showed last."""
        return rendered(
            "explorers/live_view.html.j2",
            name=type(self).__name__,
            body=self.static_body(),
        )

    def leave(self) -> None:
        """Write the static form anew wherever the view is displayed."""
        for output in self._left:
            output.update({"text/html": self.static_html(), "text/plain": ""}, raw=True)

    def _ipython_display_(self) -> None:
        from IPython.display import display

        name = type(self).__name__
        said = f"{name}, live where a kernel runs; what it showed last is below."
        display(self._repr_mimebundle_() | {"text/plain": said}, raw=True)
        data = {"text/html": self.static_html(), "text/plain": ""}
        self._left.append(display(data, raw=True, display_id=True))
