"""A wrapper that fails when the app inside it breaks the ASGI contract, or when what stands outside breaks it."""

from collections.abc import Iterable
from typing import Any, Final

from asgi_resilience.context import ASGIApp, Message, Receive, Scope, Send
from asgi_resilience.testing.protocol import ConnectionRules, rules_for

__all__ = ("ASGILint", "ASGIViolation")

_COPIED_FOR_THE_APP: Final = ("http", "websocket")


class ASGIViolation(AssertionError):
    """The ASGI contract was broken."""


class ASGILint:
    """Pass every message through, and check each against the ASGI specification.

    Put it around a middleware to check what leaves it, and inside to check what reaches the app:
    `ASGILint(wrap(ASGILint(app)))`. Checked are the order of messages, the types of their fields, that no message is
    changed once it has been handed over, that nothing follows the end of a response, that a response is complete when
    the app returns, and that the scope of a request is not changed towards the outside.

    Args:
        app: Any ASGI application.
        scope_may_change: For applications that write into the scope which they are given, as routers do that serve as
            the whole application; default False.

    Attributes:
        violations: Everything found so far, in words, for all connections.

    Raises:
        ASGIViolation: At the offending `send`, and again when the app ends, should it have been swallowed meanwhile.
    """

    def __init__(self, app: ASGIApp, *, scope_may_change: bool = False) -> None:
        self.app = app
        self.violations: list[str] = []
        self._scope_may_change = scope_may_change

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, watched."""
        rules = rules_for(scope)
        if rules is None:
            await self.app(scope, receive, send)
            return
        connection = _Connection(rules, receive, send)
        checks_scope = scope["type"] in _COPIED_FOR_THE_APP and not self._scope_may_change
        before = _frozen(scope) if checks_scope else None
        try:
            await self.app(scope, connection.receive, connection.send)
        except ASGIViolation:
            raise
        except BaseException:
            connection.ended(raised=True)
            self._fail(connection)
            raise
        else:
            connection.ended(raised=False)
            if before is not None and _frozen(scope) != before:
                connection.found.append("the scope was changed")
            self._fail(connection)
        finally:
            self.violations += connection.found

    def _fail(self, connection: "_Connection") -> None:
        if connection.found:
            raise ASGIViolation("; ".join(connection.found))


class _Connection:
    """One connection under watch: its rules, and every message that has been handed over."""

    def __init__(self, rules: ConnectionRules, receive: Receive, send: Send) -> None:
        self.found: list[str] = []
        self._rules = rules
        self._receive = receive
        self._send = send
        self._handed_over: list[tuple[Message, dict[str, Any]]] = []

    async def receive(self) -> Message:
        message = await self._receive()
        self._check(self._rules.received(message))
        return message

    async def send(self, message: Message) -> None:
        passed_on = message
        if "headers" in message and not isinstance(message["headers"], list | tuple):
            # It can be read only once: read it here, and hand on what can be read only once.
            message = {**message, "headers": list(message["headers"])}
            passed_on = {**message, "headers": iter(message["headers"])}
        self._check(self._rules.sent(message))
        if passed_on is message:
            self._handed_over.append((message, _frozen(message)))
        await self._send(passed_on)
        self._check(self._changed())

    def ended(self, *, raised: bool) -> None:
        self.found += self._changed()
        if not raised:
            self.found += self._rules.returned()

    def _changed(self) -> list[str]:
        changed = [message for message, before in self._handed_over if _frozen(message) != before]
        if changed:
            self._handed_over.clear()
        return [f"{message['type']} was changed after it had been handed over" for message in changed]

    def _check(self, problems: Iterable[str]) -> None:
        for problem in problems:  # the first one will do: the rules of a broken message end there
            self.found.append(problem)
            raise ASGIViolation(problem)


def _frozen(value: Scope | Message) -> dict[str, Any]:
    """A copy that shows when keys, headers or extensions change; other values are compared as they are."""
    copy = dict(value)
    if "headers" in copy:
        copy["headers"] = [tuple(pair) for pair in copy["headers"]]
    for name in ("extensions", "state"):
        # A state is there to be written to; that it is still the same one is what counts.
        if name in copy and copy[name] is not None:
            copy[name] = dict(copy[name]) if name == "extensions" else id(copy[name])
    return copy
