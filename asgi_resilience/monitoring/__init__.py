"""Monitoring as code: dashboards, monitors, SLOs and log retention of a service, built from the metrics that it emits."""
