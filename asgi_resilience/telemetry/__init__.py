"""Adapters to telemetry packages: one optional package per file."""
