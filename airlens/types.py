"""Named array shapes, used in public signatures.

Letters: ``L`` layers, ``H`` query heads, ``P`` probes, ``B`` batch, ``T`` positions, ``D`` head
dimension, ``V`` vocabulary.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

HeadArray: TypeAlias = Float[np.ndarray, "L H"]
ProbeHeadArray: TypeAlias = Float[np.ndarray, "P L H"]
Tokens: TypeAlias = Int[Tensor, "B T"]
Logits: TypeAlias = Float[Tensor, "B T V"]
MeanZ: TypeAlias = Float[Tensor, "L H D"]
PerHead: TypeAlias = Float[Tensor, " H"]

# "uniform", "zero", "mean", or a mode that was registered.
Mode: TypeAlias = str
Json: TypeAlias = dict[str, Any]
