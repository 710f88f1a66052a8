from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from wfe_controller.api import names

LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")


@given(st.text())
def test_every_label_value_is_accepted_by_the_api_server(value: str) -> None:
    """TH1: the API server refuses a run whose label it does not like, and then nothing ever runs."""
    label = names.safe_label(value)
    assert len(label) <= 63
    assert LABEL_VALUE.fullmatch(label)
    assert bool(label) == bool(value)


def test_a_valid_short_name_stays_readable() -> None:
    """T59: slashes become __, everything else stays."""
    assert names.safe_label("prod/deployment/web.v1") == "prod__deployment__web.v1"
    assert names.safe_label("x" * 63) == "x" * 63


def test_long_or_odd_values_keep_apart() -> None:
    """TH1: values with a common beginning must not share one label value; a cut never ends in punctuation."""
    one, two = names.safe_label("a" * 80 + "1"), names.safe_label("a" * 80 + "2")
    assert one != two
    assert one.startswith("a" * 50)
    assert names.safe_label("system:admin") != names.safe_label("system-admin")
    assert names.safe_label("...").isalnum()


@given(st.text(min_size=1, max_size=600))
def test_run_and_lock_names_are_valid_and_stable(canonical: str) -> None:
    """T1: 20 characters, a DNS label, the same for the same target always."""
    assert re.fullmatch(r"wfe-[0-9a-f]{16}", names.run_name(canonical))
    assert names.run_name(canonical) == names.lock_name(canonical)


def test_the_name_is_the_documented_hash() -> None:
    """DD-WE-003: an operator can compute it with sha256sum."""
    assert names.run_name("prod/deployment/web") == "wfe-86fec24e546ce6de"


def test_decision_annotations_have_who_and_why() -> None:
    assert names.by(names.ANNOTATION_CLEAR_BLOCK) == "kubernaut.ai/clear-block-by"
    assert names.reason(names.ANNOTATION_CANCEL) == "kubernaut.ai/cancel-reason"
