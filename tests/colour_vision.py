"""How far colours are apart: to anybody, to a person without green cones, and on grey paper."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Colour = NDArray[np.float64]

# Machado, Oliveira & Fernandes 2009, "A Physiologically-based Model for Simulation of Color Vision
# Deficiency" (IEEE TVCG 15(6), https://doi.org/10.1109/TVCG.2009.113), its table of matrices:
# deuteranomaly of severity 1.0, for linear RGB.
DEUTERANOPIA = np.array(
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)
# sRGB to CIE XYZ, white D65: IEC 61966-2-1.
TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def linear(colour: str) -> Colour:
    """Linear RGB [3] in [0, 1] of ``#rrggbb``."""
    parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    low = parts / 12.92
    return np.where(parts <= 0.04045, low, ((parts + 0.055) / 1.055) ** 2.4)


def over(colour: str, opacity: float, paper: str) -> str:
    """A colour of this opacity on paper, mixed as browsers do, in sRGB."""
    mixed = [
        opacity * int(colour[i : i + 2], 16) + (1 - opacity) * int(paper[i : i + 2], 16)
        for i in (1, 3, 5)
    ]
    return "#" + "".join(f"{round(part):02x}" for part in mixed)


def without_green_cones(rgb: Colour) -> Colour:
    """Linear RGB as a person with deuteranopia sees it."""
    return np.clip(DEUTERANOPIA @ rgb, 0, 1)


def lab(rgb: Colour) -> Colour:
    """CIE L*, a*, b* of linear RGB."""
    xyz = TO_XYZ @ rgb / TO_XYZ.sum(axis=1)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, WCAG 2.2."""
    high, low = sorted((float(TO_XYZ[1] @ linear(c)) for c in (one, other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def ciede2000(one: Colour, other: Colour) -> float:
    """The distance of two colours in Lab: Sharma, Wu & Dalal 2005, equations 2 to 22."""
    (l1, a1, b1), (l2, a2, b2) = one, other
    chroma = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    g = 0.5 * (1 - np.sqrt(chroma**7 / (chroma**7 + 25.0**7)))
    a1, a2 = (1 + g) * a1, (1 + g) * a2
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = (np.degrees(np.arctan2(b, a)) % 360 for a, b in ((a1, b1), (a2, b2)))
    turn = (h2 - h1 + 180) % 360 - 180 if c1 * c2 else 0.0
    lightness, c_step = l2 - l1, c2 - c1
    h_step = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2))
    mean_l, mean_c = (l1 + l2) / 2, (c1 + c2) / 2
    mean_h = h1 + turn / 2 if c1 * c2 else h1 + h2
    t = (
        1
        - 0.17 * np.cos(np.radians(mean_h - 30))
        + 0.24 * np.cos(np.radians(2 * mean_h))
        + 0.32 * np.cos(np.radians(3 * mean_h + 6))
        - 0.20 * np.cos(np.radians(4 * mean_h - 63))
    )
    s_l = 1 + 0.015 * (mean_l - 50) ** 2 / np.sqrt(20 + (mean_l - 50) ** 2)
    s_c, s_h = 1 + 0.045 * mean_c, 1 + 0.015 * mean_c * t
    around = np.exp(-((((mean_h % 360) - 275) / 25) ** 2))
    r_t = -2 * np.sqrt(mean_c**7 / (mean_c**7 + 25.0**7)) * np.sin(np.radians(60 * around))
    parts = (lightness / s_l, c_step / s_c, h_step / s_h)
    return float(np.sqrt(sum(p**2 for p in parts) + r_t * parts[1] * parts[2]))


def distances(colours: Mapping[str, str]) -> Iterator[tuple[str, float, float, float]]:
    """Of each pair: its names, CIEDE2000 to anybody and under deuteranopia, difference of L*."""
    for (name, one), (other, two) in itertools.combinations(colours.items(), 2):
        rgb = [linear(c) for c in (one, two)]
        seen: list[Any] = [[lab(c) for c in rgb], [lab(without_green_cones(c)) for c in rgb]]
        grey = abs(float(seen[0][0][0] - seen[0][1][0]))
        yield f"{name} {one} / {other} {two}", ciede2000(*seen[0]), ciede2000(*seen[1]), grey


def drawn_columns(png: bytes) -> float:
    """Share of a picture's columns in which something has a contrast of 3 with its corner."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as opened:
        pixels = np.asarray(opened.convert("RGB"), dtype=np.float64) / 255
    light = np.where(pixels <= 0.04045, pixels / 12.92, ((pixels + 0.055) / 1.055) ** 2.4)
    light = light @ TO_XYZ[1] + 0.05
    ratio = np.maximum(light / light[0, 0], light[0, 0] / light)
    return float((ratio.max(axis=0) >= 3).mean())
