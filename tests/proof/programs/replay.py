"""
``python -m sigra_forward replay``, which is killed in the middle of a transaction. Run as a module.

Its arguments are the setting, after how many pages it is killed (0: it is not), the size of a page, and the command's.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from sigra_forward import AuditForward, Route
from sigra_forward.__main__ import main
from sigra_forward.operations import _replay
from tests.proof.support_setting import LONG_AGO, Collector, Setting


def killed_after(ledger: Any, pages: int) -> Any:
    """Return *ledger*, which ends the process when one page more is made due, and before that counts."""
    original = ledger._change
    left = [pages]

    def change(operation: Any, /, *arguments: Any) -> Any:
        def carried(*its: Any) -> Any:
            answer = operation(*its)
            if operation.__name__ == "_replay":
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)
                left[0] -= 1
            return answer

        carried.__name__ = operation.__name__
        return original(carried, *arguments)

    ledger._change = change
    return ledger


def host() -> AuditForward:
    """Return what the command is told to work on."""
    setting, pages = Setting.read(sys.argv[1]), int(sys.argv[2])
    ledger = setting.the_ledger()
    return AuditForward(
        repository=setting.repository(),
        ledger=killed_after(ledger, pages) if pages else ledger,
        forwarders={"siem": Route(Collector(setting.port, {}), since=LONG_AGO)},
    )


if __name__ == "__main__":
    _replay.PAGE = int(sys.argv[3])
    sys.exit(main([*sys.argv[4:], "--app", "tests.proof.programs.replay:host"]))
