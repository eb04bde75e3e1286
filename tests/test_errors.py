"""The errors: what they descend from, what they carry, and that they can be pickled."""

from __future__ import annotations

import pickle

import pytest

from sigra_forward import errors

ALL = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_is_ours(kind: type[Exception]) -> None:
    """Every error ends in ``Error`` and descends from `SigraForwardError`."""
    assert (True, True) == (kind.__name__.endswith("Error"), issubclass(kind, errors.SigraForwardError))


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.InvalidJobArgsError, ValueError),
        (errors.ConfigurationError, ValueError),
        (errors.SchemaMismatchError, ValueError),
        (errors.SinkError, RuntimeError),
        (errors.EnqueueError, RuntimeError),
        (errors.QueueFullError, errors.EnqueueError),
        (errors.MissingDependencyError, ImportError),
    ],
    ids=lambda kind: kind.__name__,
)
def test_every_error_is_the_builtin_that_a_caller_would_guess(kind: type, builtin: type) -> None:
    """A caller who knows nothing of this library catches our errors by a builtin."""
    assert issubclass(kind, builtin)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_says_its_message(kind: type[Exception]) -> None:
    """The message is the text of the error."""
    assert "what was wrong" == str(kind("what was wrong"))


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_is_picklable(kind: type[Exception]) -> None:
    """Queues carry errors between processes."""
    loaded = pickle.loads(pickle.dumps(kind("what was wrong")))

    assert (kind, "what was wrong") == (type(loaded), str(loaded))


@pytest.mark.parametrize(
    ("expected", "error"),
    [
        pytest.param(("http_503", "http_503", None), errors.SinkError("http_503"), id="reason"),
        pytest.param(("http_429", "http_429", 60), errors.SinkError("http_429", 60), id="retry-after"),
        pytest.param(
            ("http_503: come back later", "http_503", 1.5),
            errors.SinkError("http_503", 1.5, detail="come back later"),
            id="detail",
        ),
    ],
)
def test_a_sink_error_says_why_and_for_how_long(
    expected: tuple[str, str, float | None], error: errors.SinkError
) -> None:
    """A `SinkError` keeps its reason and ``retry_after``; its text is the reason, and the sink's own words if any."""
    assert expected == (str(error), error.reason, error.retry_after)


def test_a_pickled_sink_error_keeps_what_it_says() -> None:
    """Pickled, a `SinkError` keeps its text, its reason and ``retry_after``."""
    loaded = pickle.loads(pickle.dumps(errors.SinkError("http_503", 1.5, detail="come back later")))

    assert ("http_503: come back later", "http_503", 1.5) == (str(loaded), loaded.reason, loaded.retry_after)


def test_the_words_of_the_sink_go_by_keyword() -> None:
    """``detail`` does not go by position."""
    with pytest.raises(TypeError):
        errors.SinkError("http_503", 1.5, "come back later")


def test_a_missing_dependency_names_the_module() -> None:
    """Like an `ImportError`, it carries the name of the module that is missing."""
    error = errors.MissingDependencyError("pip install 'sigra-forward[celery]'", name="celery")

    assert ("celery", "pip install 'sigra-forward[celery]'") == (error.name, str(error))
