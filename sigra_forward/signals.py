"""
The blinker signals: one to announce committed events, four to hear what became of them.

============================== ======================== ================================================= ========
name                           constant                 sent                                              payload
============================== ======================== ================================================= ========
``sigra.audit.log``            `audit_log`              by the host, when an event is committed           `AuditEvent`
``sigra.audit.forward.enqueued`` `forward_enqueued`     when a job is on the queue                        `Enqueued`
``sigra.audit.forward.ok``     `forward_ok`             once per delivery, at delivery, never at enqueue  `Delivered`
``sigra.audit.forward.error``  `forward_error`          on every exit but ``OK``                          `Failed`
``sigra.audit.forward.discarded`` `forward_discarded`   after the error that ended a delivery             `Discarded`
============================== ======================== ================================================= ========

Subscribers are called as ``f(sender, event=...)``. The sender of the last four is the forwarder's name, so that
``forward_error.connect(f, sender="siem")`` hears one sink. They live in blinker's default namespace:
``blinker.signal("sigra.audit.log")`` is `audit_log`.
"""

from __future__ import annotations

from blinker import signal

__all__ = ["audit_log", "forward_discarded", "forward_enqueued", "forward_error", "forward_ok"]

audit_log = signal("sigra.audit.log", doc="Sent by the host: audit_log.send(app, event=AuditEvent(...)).")
forward_enqueued = signal("sigra.audit.forward.enqueued", doc="A job is on the queue.")
forward_ok = signal("sigra.audit.forward.ok", doc="A sink said yes.")
forward_error = signal("sigra.audit.forward.error", doc="A perform or an enqueue ended in anything but OK.")
forward_discarded = signal("sigra.audit.forward.discarded", doc="A delivery was given up after its last attempt.")
