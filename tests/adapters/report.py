"""
Writes the README's table of adapters from what the contract has measured: ``make adapters-table``.

Give it the folder that ``SIGRA_FORWARD_REPORT`` named when the suites ran.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- adapters: made by `make adapters-table` -->\n", "<!-- adapters end -->\n"

HEAD = (
    "| queue | task killed | worker killed | with our settings | poison job, 2 attempts allowed | time limit | a cancel shows in | in your transaction |\n"
    "|---|---:|---:|---|---:|---|---|---|\n"
)


def row(measured: dict[str, Any]) -> str:
    """Return the line of one adapter."""
    limits = [kind for kind, test in (("sync", "limits slow"), ("async", "limits async-slow")) if measured.get(test)]
    cells = [
        measured["library"],
        _seconds(measured.get("task_killed")),
        _seconds(measured.get("worker_killed")),
        measured["recovery"],
        f"{measured['poison']} runs" if "poison" in measured else "unbounded",
        " and ".join(limits) or "none",
        measured.get("visibility", "nothing"),
        "yes" if measured["transactional"] else "no",
    ]
    return f"| {' | '.join(cells)} |\n"


def table(folder: Path) -> str:
    """Return the whole table, one line for each suite that ran."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")]
    return HEAD + "".join(row(measured) for measured in sorted(found, key=lambda measured: str(measured["library"])))


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s" if value < 10 else f"{value:.0f} s"


def main() -> None:
    """Put the table into the README."""
    text = README.read_text(encoding="utf-8")
    new = BEGIN + table(Path(sys.argv[1])) + END
    README.write_text(re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: new, text, flags=re.DOTALL), "utf-8")


if __name__ == "__main__":
    main()
