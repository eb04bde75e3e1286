"""
Upstream's configuration scenarios, C1 to C11.

All of them translate, to the arguments of `AuditForward` and `Route`: upstream's ``module`` is the forwarder itself, its
``id`` the name under which it is registered. C5 differs in where other keys go (to the forwarder's constructor), C9 in that
the forwarders are a mapping and not a list (so that no two have the same name).
"""

from __future__ import annotations

from typing import Any

import pytest

from sigra_forward import AuditEvent, AuditForward, ConfigurationError, Dispatch, Route
from sigra_forward.testing import InMemoryAuditRepository, RecordingForwarder, make_event
from tests.support_ids import spelled


def _configured(forwarders: Any) -> AuditForward:
    return AuditForward(InMemoryAuditRepository(), forwarders)


def test_C1_there_may_be_no_forwarders() -> None:
    """Without forwarders, an event goes nowhere, and that is no error; here the empty mapping is spelled out."""
    audit_forward = _configured({})

    assert ({}, {}) == (dict(audit_forward.routes), audit_forward.dispatch(make_event()))


def test_C2_a_valid_entry_is_kept() -> None:
    """A valid entry is taken, and its forwarder, dispatch and name are kept."""
    sink = RecordingForwarder()

    ((name, route),) = _configured({"siem": Route(sink, dispatch=Dispatch.SYNC)}).routes.items()

    assert ("siem", sink, Dispatch.SYNC) == (name, route.forwarder, route.dispatch)


def test_C3_an_entry_without_a_forwarder_is_an_error() -> None:
    """An entry without its forwarder is an error that says so."""
    with pytest.raises(ConfigurationError, match="the forwarder"):
        Route(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("dispatch", ["async", "later", None], ids=str)
def test_C4_an_unknown_dispatch_is_an_error(dispatch: object) -> None:
    """A dispatch that is none of the three is an error that mentions dispatch."""
    with pytest.raises(ConfigurationError, match="dispatch"):
        Route(RecordingForwarder(), dispatch=dispatch)  # type: ignore[arg-type]


class HTTP(RecordingForwarder):
    """Has options of its own."""

    def __init__(self, endpoint: str, api_key: str) -> None:
        super().__init__()
        self.endpoint = endpoint
        self.api_key = api_key


def test_C5_a_forwarder_has_options_of_its_own() -> None:
    """Differs: other keys, such as ``endpoint``, are the forwarder's own, and its constructor's."""
    route = _configured({"siem": HTTP("https://siem.example.com", api_key="hunter2")}).routes["siem"]

    assert "https://siem.example.com" == route.forwarder.endpoint  # type: ignore[union-attr]


@pytest.mark.parametrize("entry", [None, "sigra_forward.sinks.NoopForwarder", {"module": "siem"}, 5], ids=str)
def test_C6_an_entry_that_is_no_entry_is_an_error(entry: object) -> None:
    """An entry that is neither a forwarder nor a route is an error that names it."""
    with pytest.raises(ConfigurationError, match=r"^forwarders\['siem'\]"):
        _configured({"siem": entry})


@pytest.mark.parametrize("module", [RecordingForwarder, "NoopForwarder", make_event], ids=["class", "text", "function"])
def test_C7_what_is_no_forwarder_is_an_error(module: object) -> None:
    """A class, a name or a function in the place of the forwarder is an error: nothing is imported by name."""
    with pytest.raises(ConfigurationError, match="the forwarder"):
        Route(module)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [None, 5, "", "a b", "siem\n", ("siem",)], ids=spelled)
def test_C8_a_name_that_is_no_name_is_an_error(name: object) -> None:
    """A name that breaks the rule is an error that tells the rule."""
    with pytest.raises(ConfigurationError, match=r"^the name of forwarder 1 must be 1 to 255 of A-Z a-z 0-9 _ \. : -$"):
        _configured({name: RecordingForwarder()})


@pytest.mark.parametrize(
    "forwarders", [None, [RecordingForwarder()], "siem", RecordingForwarder()], ids=lambda x: type(x).__name__
)
def test_C9_forwarders_that_are_no_mapping_are_an_error(forwarders: object) -> None:
    """Differs: forwarders are a mapping by name, and upstream's list is the error."""
    with pytest.raises(ConfigurationError, match="must map each name to its forwarder"):
        _configured(forwarders)


def test_C10_what_is_left_out_has_its_default() -> None:
    """What an entry leaves out has its default: auto, every action, unchanged, no policy or queue of its own."""
    route = _configured({"siem": RecordingForwarder()}).routes["siem"]

    assert (Dispatch.AUTO, ("*",), None, None, None, None, None) == (
        route.dispatch,
        route.actions,
        route.where,
        route.transform,
        route.policy,
        route.queue,
        route.since,
    )


class Secretive:
    """Shows its secret in its ``repr``."""

    def __repr__(self) -> str:
        return "Secretive(api_key='hunter2')"

    def forward(self, event: AuditEvent) -> None:
        """Accept *event*."""


@pytest.mark.parametrize(
    "options",
    [
        {"dispatch": "hunter2"},
        {"actions": "hunter2"},
        {"actions": ("hunter*2",)},
        {"where": "hunter2"},
        {"transform": "hunter2"},
        {"policy": "hunter2"},
        {"queue": "hunter2 hunter2"},
        {"since": "hunter2"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_C11_an_error_never_echoes_a_value(options: dict[str, Any]) -> None:
    """An error says which option is wrong, and never its value, nor anything of the forwarder's."""
    with pytest.raises(ConfigurationError) as refusal:
        Route(Secretive(), **options)

    assert f"{next(iter(options))}=...)" in str(refusal.value)
    assert "hunter" not in str(refusal.value)
