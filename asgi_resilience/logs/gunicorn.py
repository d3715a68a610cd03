"""gunicorn's own lines in our schema: those of the master too, which never loads the application.

gunicorn main:app --worker-class uvicorn_worker.UvicornWorker --logger-class asgi_resilience.logs.gunicorn.GunicornLogger
"""

from typing import Any

from gunicorn.glogging import Logger

from asgi_resilience.logs.setup import configure_logging
from asgi_resilience.settings import Settings

__all__ = ("GunicornLogger",)


class GunicornLogger(Logger):
    """A `logger_class` for gunicorn: calls `configure_logging` with `Settings.from_env()` when gunicorn starts or reloads.

    An application that calls it itself replaces that in its worker, as always. `--log-level` is the level of gunicorn's
    lines, `ASGI_RESILIENCE_LOG_LEVEL` that of all. `--error-logfile` and `--access-logfile` are not opened.
    """

    def setup(self, cfg: Any) -> None:
        """Set logging up."""
        cfg.set("errorlog", "-")  # a file would be opened, and never written
        cfg.set("accesslog", None)
        super().setup(cfg)
        configure_logging(Settings.from_env())
