"""The options of every command that loads a model, declared once: which, where, in what type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from inspect import Parameter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from airlens.model.placement import MAPS, DeviceMap, MaxMemory, Placement

from . import checks
from .options import with_shared

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

PANEL = "Model"
KNOWN = "smollm2-135m, gemma3-270m, a hub id, a local folder or a .gguf file."


def model_option(text: str = KNOWN) -> Any:
    """The option --model."""
    return typer.Option(
        *("--model", "-m"),
        parser=checks.model_name,
        metavar="NAME",
        help=text,
        rich_help_panel=PANEL,
    )


@dataclass(frozen=True)
class ModelOptions:
    """What was typed about the model; see :func:`airlens.load_model` for each.

    Args:
        name: of the model; None where none was named and the command has one of its own.
        device: the device that holds it.
        dtype: of the weights.
        n_ctx: longest text, in tokens.
        n_devices: over how many GPUs it is spread.
        device_map: how it is spread.
        max_memory: most memory of each device.

    Raises:
        ConfigError: options that exclude each other.
    """

    name: str | None
    device: str | None
    dtype: str
    n_ctx: int | None = None
    n_devices: int | None = None
    device_map: DeviceMap | None = None
    max_memory: MaxMemory | None = None

    def __post_init__(self) -> None:
        _ = self.placement

    @property
    def placement(self) -> Placement:
        """Where the model is to lie."""
        return Placement(self.device, self.n_devices, self.device_map, self.max_memory)

    def how(self) -> dict[str, Any]:
        """The arguments of `load_model` by name."""
        return dict(vars(self))

    def named(self, name: str) -> ModelOptions:
        """The same options for the model of that name."""
        return replace(self, name=name)

    def load(self) -> TransformerBridge:
        """The model."""
        from airlens.model.load import load_model

        return load_model(**self.how())


def loads_model(
    *, default: str | None = "smollm2-135m", text: str = KNOWN, context: bool = True
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of a model, which it gets as ``model_options``.

    Args:
        default: the model where none is named.
        text: what the option --model says.
        context: whether the command has --n-ctx.
    """
    shared = _options(default, text)
    shared = [each for each in shared if context or each.name != "n_ctx"]
    names = [parameter.name for parameter in shared]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def run(**options: Any) -> None:
            given = {name: options.pop(name) for name in names}
            command(**options, model_options=ModelOptions(given.pop("model"), **given))

        return with_shared(command, "model_options", shared, run)

    return decorate


def _options(default: str | None, text: str) -> list[Parameter]:
    """The parameters of the shared options."""
    declared: list[tuple[str, Any, Any, Any]] = [
        ("model", str | None if default is None else str, default, model_option(text)),
        (
            "device",
            str | None,
            None,
            typer.Option(help="cpu, cuda, … (default: CUDA if there)", rich_help_panel=PANEL),
        ),
        (
            "dtype",
            str,
            "float32",
            typer.Option(
                parser=checks.choice(*checks.DTYPES),
                metavar="NAME",
                help="Dtype of the weights: float32, bfloat16, float16; losses are fp32.",
                rich_help_panel=PANEL,
            ),
        ),
        (
            "n_ctx",
            int | None,
            None,
            typer.Option(
                "--n-ctx",
                min=2,
                help="Longest text in tokens, longer ones go in windows (default: the model's).",
                rich_help_panel=PANEL,
            ),
        ),
        (
            "n_devices",
            int | None,
            None,
            typer.Option(min=1, help="Spread the layers over so many GPUs.", rich_help_panel=PANEL),
        ),
        (
            "device_map",
            Any,
            None,
            typer.Option(
                parser=checks.device_map,
                metavar="MAP",
                help=f"Spread the layers: {', '.join(MAPS)}, or a JSON file: module to device.",
                rich_help_panel=PANEL,
            ),
        ),
        (
            "max_memory",
            Any,
            None,
            typer.Option(
                parser=checks.max_memory,
                metavar="SIZES",
                help="Most memory of each device, such as 0=20GiB,cpu=64GiB.",
                rich_help_panel=PANEL,
            ),
        ),
    ]
    return [
        Parameter(name, Parameter.KEYWORD_ONLY, default=value, annotation=Annotated[kind, option])
        for name, kind, value, option in declared
    ]
