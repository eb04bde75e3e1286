"""Each queue's section of the README is a complete pair of files: the app, and the commands. They run as they stand."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep

import pytest

from sigra_forward.testing import SupervisedProcess
from tests.adapters import report

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
PATIENCE = 60.0


def section(library: str) -> tuple[str, list[str]]:
    """Return the app and the commands of one section."""
    text = README.partition(f"\n### {library}\n")[2].partition("\n### ")[0].partition("\n## ")[0]
    app, commands = re.search(r"```python\n(# shop\.py\n.*?)```.*?```console\n(.*?)```", text, re.DOTALL).groups()
    return app, [line for line in re.sub(r"\\\n\s*", "", commands).splitlines() if line]


@pytest.fixture
def servers(request: pytest.FixtureRequest) -> dict[str, str]:
    """Return what the environment variables of each section are to hold here."""
    return request.getfixturevalue(f"_{request.param}_environment")


@pytest.fixture
def _redis_environment(redis_server: tuple[str, int], redis_db: int) -> dict[str, str]:
    url = f"redis://{redis_server[0]}:{redis_server[1]}/{redis_db}"
    return {"BROKER_URL": url, "REDIS_URL": url, "RQ_REDIS_URL": url}


@pytest.fixture
def _postgres_environment(postgres_server: tuple[str, int], postgres_database: str) -> dict[str, str]:
    url = f"postgresql://postgres@{postgres_server[0]}:{postgres_server[1]}/{postgres_database}"
    return {"DATABASE_URL": url, "OBAN_DSN": url}


@pytest.mark.parametrize(
    ("library", "module", "servers"),
    [
        ("Celery", "celery", "redis"),
        ("RQ", "rq", "redis"),
        ("Dramatiq", "dramatiq", "redis"),
        ("Procrastinate", "procrastinate", "postgres"),
        ("Oban", "oban", "postgres"),
    ],
    indirect=["servers"],
    ids=lambda value: value if value and value.islower() else "",
)
def test_the_section_runs_as_it_stands(library: str, module: str, servers: dict[str, str], tmp_path: Path) -> None:
    """The app written to shop.py and the commands run in its folder: the event reaches the sink, by way of the worker."""
    pytest.importorskip(module)
    app, commands = section(library)
    (tmp_path / "shop.py").write_text(app, encoding="utf-8")
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    with ExitStack() as stack:
        for number, command in enumerate(commands):
            if command.startswith("export "):
                name, _, value = command.removeprefix("export ").partition("=")
                environment[name] = servers.get(name, value)
            elif command.endswith("&"):
                words = shlex.split(os.path.expandvars(_expanded(command.rstrip("& "), environment)))
                stack.enter_context(SupervisedProcess(words, tmp_path, environment, f"{number}.log"))
            else:
                words = shlex.split(_expanded(command, environment))
                subprocess.run(words, cwd=tmp_path, env={**os.environ, **environment}, check=True, timeout=PATIENCE)
        until = monotonic() + PATIENCE
        while not (tmp_path / "siem.jsonl").exists() or not (tmp_path / "siem.jsonl").read_text(encoding="utf-8"):
            assert monotonic() < until, "".join(log.read_text(encoding="utf-8") for log in tmp_path.glob("*.log"))
            sleep(0.05)

    (line,) = (tmp_path / "siem.jsonl").read_text(encoding="utf-8").splitlines()
    assert "session.create" == json.loads(line)["action"]


def _expanded(command: str, environment: dict[str, str]) -> str:
    return re.sub(r"\$(\w+)", lambda name: environment.get(name[1], name[0]), command)


def test_the_table_of_adapters_is_there() -> None:
    """It has the columns that the suite's report has now, and a line for each queue and server."""
    table = README.partition(report.BEGIN)[2].partition(report.END)[0]
    lines = table.removeprefix(report.HEAD).splitlines()

    assert table.startswith(report.HEAD)
    expected = "Celery, RabbitMQ|Celery, Redis|Dramatiq, RabbitMQ|Dramatiq, Redis|Oban, PostgreSQL"
    assert f"{expected}|Procrastinate, PostgreSQL|RQ, Redis" == "|".join(line.split(" | ")[0][2:] for line in lines)
