"""All settings of the stack: what they are, what each may be, and how they are read from the environment."""

from asgi_resilience.settings.model import Settings

__all__ = ("Settings",)
