"""Where what is measured of a trace is stored, so that a long run can be resumed.

A folder for each kind of measurement and all that decides it (model, template, settings), and in it
a name for each trace as it was measured: its tokens, and what else of it was read.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from airlens.files import portable_name
from airlens.provenance import fingerprint, model_info
from airlens.traces.chat_template import Template, resolve_template, template_identity
from airlens.traces.encoding import encode_trace
from airlens.traces.trace import Trace

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


class TraceStore:
    """Paths of measurements in a folder.

    Args:
        model: the bridge that measures.
        folder: where; None: nothing is stored.
        template: how the prompt is put before the response.
        settings: of all measurements.
    """

    def __init__(
        self,
        model: TransformerBridge,
        folder: str | Path | None,
        template: Template = "auto",
        **settings: Any,
    ) -> None:
        self.folder = None if folder is None else Path(folder)
        self.tokenizer = model.tokenizer
        self.template = resolve_template(model.tokenizer, template)
        identity = template_identity(model.tokenizer, self.template)
        self.of = {"model": model_info(model), **identity, **settings}

    def path(
        self, kind: str, trace: Trace, read: dict[str, Any], *, suffix: str = "", **settings: Any
    ) -> Path | None:
        """The path of a measurement of a trace, for :func:`airlens.folders.kept`; None: no folder.

        Args:
            kind: what is measured, the beginning of the folder's name.
            trace: what it is measured of.
            read: what the measurement reads of the trace beside its id and its tokens.
            suffix: of a file.
            settings: of this measurement.
        """
        if self.folder is None:
            return None
        encoded = encode_trace(self.tokenizer, trace, self.template)
        name = fingerprint({"id": trace.id, **read, "measured": encoded.digest()})
        home = f"{portable_name(kind)}-{fingerprint({**self.of, **settings})}"
        return self.folder / home / f"{name}{suffix}"
