"""The layers around an application, as `stack` lists them."""

from typing import Final

from asgi_resilience import Settings, stack
from asgi_resilience.faults import FaultPlan
from docs.pictures.drawing import Drawing

__all__ = ("draw",)

_ROW: Final = 26
_STEP: Final = 22
_WIDTH: Final = 720
_DOES: Final = {
    "Health": "answers probes",
    "Prometheus": "answers scrapes",
    "RequestID": "names the request",
    "TraceContext": "finds or makes trace ids",
    "AccessLog": "writes the line",
    "Metrics": "counts and times",
    "ErrorEnvelope": "turns errors into JSON",
    "RateLimit": "answers 429",
    "LoadShed": "answers 503",
    "Timeout": "answers 504",
    "FaultInjection": "breaks things on purpose",
}
_EVERYTHING: Final = Settings(
    dogstatsd=False,
    runtime_metrics=False,
    prometheus_path="/metrics",
    rate_limit="100/minute",
    load_shed=True,
    faults=FaultPlan(environ={}),
)


def layers(settings: Settings) -> list[str]:
    """The names of the layers, outermost first."""
    return [str(getattr(layer.cls, "__name__", "")).removesuffix("Middleware") for layer in stack(settings)]


def draw() -> str:
    """Nested boxes, dashed for what is off by default."""
    names = layers(_EVERYTHING)
    default = layers(Settings(dogstatsd=False, runtime_metrics=False))
    depth = len(names)
    height = 2 * _STEP + depth * (_ROW + 10) + 70
    drawing = Drawing(
        _WIDTH,
        height,
        "The layers around an application",
        f"From the outside in: {', '.join(names)}, and the application. Off by default: "
        f"{', '.join(name for name in names if name not in default)}.",
    )
    for level, name in enumerate(names):
        side, top = 14 + level * 16, 14 + level * _ROW
        drawing.box(
            side,
            top,
            _WIDTH - 2 * side,
            height - 14 - top - level * 10,
            "box" if name in default else "off",
        )
        drawing.text(side + 12, top + 18, name, "title")
        drawing.text(_WIDTH - side - 12, top + 18, _DOES[name], "note", "end")
    side, top = 14 + depth * 16, 14 + depth * _ROW
    drawing.box(side, top + 4, _WIDTH - 2 * side, height - 18 - top - depth * 10, "app")
    drawing.text(
        _WIDTH / 2, (top + height - 14 - depth * 10) / 2 + 7, "your application", "app-text", "middle"
    )
    return drawing.svg()
