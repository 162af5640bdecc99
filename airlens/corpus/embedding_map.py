"""A map of samples from the scoring model's own residual stream: PCA and k-means.

An embedding is the mean of the residual stream in the middle of the model over a text's tokens
(ours: the middle layers of a language model carry most of what a text is about).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from airlens.model.state import running

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

MAX_TOKENS = 256  # ours: enough to place a text, and a bound on the cost
CLUSTERS = 8
IN_A_CLUSTER = 10  # ours: samples per cluster at least, on average; shares of fewer mean little


def embeddings(
    model: TransformerBridge,
    texts: Sequence[str],
    *,
    layer: int | None = None,
    max_tokens: int = MAX_TOKENS,
    progress: bool = True,
) -> np.ndarray:
    """Mean residual stream of each text, fp32 [n, d_model]; zeros for an empty text.

    Args:
        model: the bridge.
        texts: each is embedded by its first ``max_tokens`` tokens.
        layer: the block whose output is averaged; default: the middle one. Later blocks are not
            run.
        max_tokens: see ``texts``.
        progress: show a progress bar.
    """
    import torch

    at = int(model.cfg.n_layers) // 2 if layer is None else layer
    name = f"blocks.{at}.hook_out"
    found = np.zeros((len(texts), int(model.cfg.d_model)), dtype=np.float32)
    kept: list[torch.Tensor] = []

    class Enough(Exception):
        """Raised by the hook to end the forward pass early."""

    def keep(value: torch.Tensor, hook: object) -> None:
        kept.append(value.float().mean(dim=(0, 1)).cpu())
        raise Enough

    for place, text in enumerate(tqdm(texts, desc="embed", unit="text", disable=not progress)):
        ids = model.tokenizer(text, return_tensors="pt")["input_ids"][:, :max_tokens]
        if not ids.shape[1]:
            continue
        with running(model), model.hooks(fwd_hooks=[(name, keep)]):
            try:
                model(ids.to(model.cfg.device))
            except Enough:
                found[place] = kept.pop().numpy()
    return found


def embed_map(
    ids: Sequence[str], vectors: np.ndarray, *, clusters: int = CLUSTERS, seed: int = 0
) -> pd.DataFrame:
    """Two PCA coordinates and a k-means cluster of each sample: columns id, x, y, cluster.

    ``attrs["explained"]`` has the share of variance on each of the two axes. Clusters are found in
    the first 20 principal components: at most ``clusters``, one for every `IN_A_CLUSTER` samples; 0
    is the largest.
    """
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    frame = pd.DataFrame({"id": list(ids), "x": 0.0, "y": 0.0, "cluster": 0})
    if len(frame) < 3:
        return frame
    # A few dimensions of a residual stream are far larger than the rest: scaled, all count alike.
    scaled = (vectors - vectors.mean(axis=0)) / (vectors.std(axis=0) + 1e-6)
    components = min(20, *scaled.shape)
    pca = PCA(components, random_state=seed)
    points = pca.fit_transform(scaled)
    wanted = min(clusters, max(2, len(frame) // IN_A_CLUSTER))
    found = KMeans(wanted, n_init=4, random_state=seed).fit_predict(points)
    order = pd.Series(found).value_counts().index
    frame["x"], frame["y"] = points[:, 0], points[:, 1]
    frame["cluster"] = pd.Series(found).map({old: new for new, old in enumerate(order)})
    frame.attrs["explained"] = [float(share) for share in pca.explained_variance_ratio_[:2]]
    return frame
