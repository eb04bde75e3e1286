"""OpenTelemetry's batch processor and OTLP/HTTP exporter in a process of their own: they say how long they took."""

from __future__ import annotations

import json
import logging
import sys
from time import perf_counter, time_ns
from typing import Any
from uuid import uuid4

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor


def main() -> None:
    port, events, queue = sys.argv[1:4]
    logging.disable()  # it says of each that it drops
    provider = LoggerProvider()
    exporter = OTLPLogExporter(endpoint=f"http://127.0.0.1:{port}/v1/logs")
    sizes: dict[str, Any] = {"max_queue_size": int(queue), "schedule_delay_millis": 100} if int(queue) else {}
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter, **sizes))
    logger = provider.get_logger("audit")
    ids = [str(uuid4()) for _ in range(int(events))]
    began = perf_counter()
    for number, name in enumerate(ids):
        logger.emit(
            LogRecord(
                timestamp=time_ns(),
                severity_number=SeverityNumber.INFO,
                body="session.create",
                attributes={
                    "id": name,
                    "action": "session.create",
                    "source": "audit_events",
                    "actor_id": str(number % 97),
                    "ip_address": "192.0.2.1",
                    "metadata.method": "otp",
                },
            )
        )
    provider.force_flush(600_000)
    provider.shutdown()
    print(json.dumps({"seconds": perf_counter() - began}), flush=True)


if __name__ == "__main__":
    main()
