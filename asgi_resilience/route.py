"""Which route a request took, as its template: `/tenants/{tenant}/items/{id}`, never the path that the client sent.

Labels of metrics and fields of log lines come from it, so there are as many of them as there are routes.

Routers tell of their decision in the scope that they were given: Starlette and what is built on it put the `route`
there, Litestar the `path_template`. A Starlette route knows its own part of the template only, and the mounts above it
leave nothing but a `root_path` with their parameters filled in. So the route is looked for among the routes of the
outermost router, once, and what the mounts on the way there contribute is put in front of it.
"""

import re
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast
from weakref import ref

if TYPE_CHECKING:
    from asgi_resilience.context import RequestContext

__all__ = ("SCOPE_KEY", "note_route", "route_template")

SCOPE_KEY: Final = "asgi_resilience.route"
"""An app whose router leaves nothing in the scope puts the template under this key itself."""

_DEEPEST_WRAPPING: Final = 16
_PARAMETER: Final = re.compile(r"\{(?P<name>[^{}:]*)(?P<convertor>:[^{}]*)?\}")
_REST: Final = "/{path}"  # what Starlette appends to a mount's path

_Scope = MutableMapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a route stands among the routes of the outermost router.

    Attributes:
        route: Gives the route while it lives: the proof that the id which it is cached under is still its own.
        own: The route's part of the template; None for a mount whose router found nothing.
        mounts: What the mounts above it contribute, and what a `root_path` made by them looks like. More than one where
            the same route is mounted in several places.
        template: The whole, where there is one place only.
    """

    route: Callable[[], Any]
    own: str | None
    mounts: tuple[tuple[str, re.Pattern[str]], ...]
    template: str | None


_places: Final[dict[int, _Place]] = {}  # by id, as Starlette's routes can't be hashed


def note_route(scope: _Scope, record: "RequestContext") -> None:
    """Set `record.route` unless something else has."""
    if record.route is None:
        record.route = route_template(scope)


def route_template(scope: _Scope) -> str | None:
    """The template of the route that was matched; None before that, and where the router does not tell.

    A path that only matches a route of another method (405) has that route's template. `{id:int}` becomes `{id}`. What
    is mounted and has no routes of its own, such as static files, gives `/static/{path}`.

    Args:
        scope: The scope that the application was called with.
    """
    told = scope.get(SCOPE_KEY)
    if isinstance(told, str):
        return told
    route = scope.get("route")
    litestar = scope.get("path_template")
    if route is None:
        return None if litestar is None else _litestar(scope)
    place = _places.get(id(route))
    if place is None or place.route() is not route:
        place = _locate(route, scope.get("router") or scope.get("app"))
    if litestar is not None:
        return f"{_mounts(place, scope)}{_simple(route.path)}{_litestar(scope)}"
    if place.template is not None or place.own is None:
        return place.template
    return _mounts(place, scope) + place.own


def _litestar(scope: _Scope) -> str:
    template: str = scope["path_template"]
    return template or f"{min(scope['route_handler'].paths)}{_REST}"  # "": an ASGI app that Litestar mounts


def _mounts(place: _Place, scope: _Scope) -> str:
    if len(place.mounts) == 1:
        return place.mounts[0][0]
    root_path = scope.get("root_path", "").removeprefix(scope.get("app_root_path", ""))
    return next((template for template, pattern in place.mounts if pattern.fullmatch(root_path)), "")


def _locate(route: Any, router: Any) -> _Place:
    own: Any = None
    if not _routes(route):
        own = getattr(route, "path_format", None) or getattr(route, "path", None)
    own = _simple(own) if isinstance(own, str) else None
    templates = dict.fromkeys(_templates(router, route, "", ())) or ("",)
    mounts = tuple((_simple(each), _pattern(each)) for each in templates)
    template = mounts[0][0] + own if own is not None and len(mounts) == 1 else None
    key = id(route)
    try:
        place = _Place(ref(route, lambda _: _places.pop(key, None)), own, mounts, template)
    except TypeError:  # this kind of route can't be referred to weakly: it is looked for each time
        return _Place(lambda: None, own, mounts, template)
    _places[key] = place
    return place


def _templates(node: Any, target: Any, template: str, above: tuple[int, ...]) -> Iterator[str]:
    """What the mounts from `node` down to `target` contribute, for each way down."""
    if id(node) in above:
        return
    for route in _routes(node):
        if route is target:
            yield template
        else:
            yield from _templates(route, target, template + getattr(route, "path", ""), (*above, id(node)))


def _routes(node: Any) -> list[Any]:
    """The routes of a router, of what a mount mounts, or of what stands behind middlewares."""
    for _ in range(_DEEPEST_WRAPPING):
        routes = getattr(node, "routes", None)
        if routes and isinstance(routes, list | tuple):
            return [*cast("Any", routes)]
        node = getattr(node, "app", None)
    return []


def _simple(template: str) -> str:
    return _PARAMETER.sub(r"{\g<name>}", template)


def _pattern(template: str) -> re.Pattern[str]:
    parts = _PARAMETER.split(template)  # literal, name, convertor, literal, …
    return re.compile(".+".join(map(re.escape, parts[::3])))
