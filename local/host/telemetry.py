"""OpenTelemetry as the platform's worker sets it up, with the log as its only backend.

With the app setting PYTHON_ENABLE_OPENTELEMETRY, the host writes one line a second with the app's
gauges: its current rate and the state of its circuit.
"""

import json
import logging
from collections.abc import Mapping

SWITCH = "PYTHON_ENABLE_OPENTELEMETRY"

_EVERY_MILLISECONDS = 1000
_logger = logging.getLogger("metrics")


def start_if_asked(environment: Mapping[str, str]) -> None:
    """Set up a provider of metrics, if the app setting says so."""
    if environment.get(SWITCH, "").strip().lower() not in ("1", "true"):
        return
    # Imported here: a host without telemetry starts faster.
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import (
        Gauge,
        MetricExporter,
        MetricExportResult,
        MetricsData,
        PeriodicExportingMetricReader,
    )

    class LogExporter(MetricExporter):
        def export(
            self,
            metrics_data: MetricsData,
            timeout_millis: float = 0,  # noqa: ARG002
            **_: object,
        ) -> MetricExportResult:
            gauges = {
                metric.name: point.value
                for resource in metrics_data.resource_metrics
                for scope in resource.scope_metrics
                for metric in scope.metrics
                if isinstance(metric.data, Gauge)
                for point in metric.data.data_points
            }
            _logger.info("%s", json.dumps(gauges))
            return MetricExportResult.SUCCESS

        def force_flush(self, timeout_millis: float = 0) -> bool:  # noqa: ARG002
            return True

        def shutdown(self, timeout_millis: float = 0, **_: object) -> None:
            pass

    reader = PeriodicExportingMetricReader(
        LogExporter(), export_interval_millis=_EVERY_MILLISECONDS
    )
    metrics.set_meter_provider(MeterProvider([reader]))
