"""`Report`: what a pytest of its own says of a suite of adapters, each of which breaks a rule."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest


class Report:
    """What a pytest of its own said of the tests in one file."""

    def __init__(self, file: Path, directory: Path, *options: str) -> None:
        xml = directory / "report.xml"
        command = [sys.executable, "-m", "pytest", str(file), f"--junit-xml={xml}", "-p", "no:cacheprovider", *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
        self.output = done.stdout + done.stderr
        assert xml.exists(), self.output
        self.cases = list(ET.parse(xml).iter("testcase"))

    def ran(self, suite: str) -> set[str]:
        """Return the names of all tests of *suite*."""
        return {case.get("name", "") for case in self.cases if case.get("classname", "").endswith(f".{suite}")}

    def failed(self, suite: str) -> set[str]:
        """Return the names of the tests of *suite* that failed."""
        return {
            case.get("name", "")
            for case in self.cases
            if case.get("classname", "").endswith(f".{suite}")
            and (case.find("failure") is not None or case.find("error") is not None)
        }

    @classmethod
    def side_by_side(cls, file: Path, factory: pytest.TempPathFactory, parts: Iterable[str]) -> Report:
        """Return what was said of all *parts* of a file, each an expression of ``-k``: most of the time they wait."""
        with ThreadPoolExecutor() as pool:
            report, *others = pool.map(lambda part: cls(file, factory.mktemp("part"), f"-k={part}", "--tb=no"), parts)
        for other in others:
            report.cases += other.cases
        return report

    def assert_fails(self, suite: str, expected: Collection[str]) -> None:
        """See that those tests of *suite* failed, for all parameters or for the ones that are named, and no other."""
        assert self.ran(suite)
        assert set(expected) == {test if test in expected else test.partition("[")[0] for test in self.failed(suite)}
