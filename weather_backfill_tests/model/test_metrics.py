"""Every limit of the table, and every other rule that values are judged or read by, says where it comes from."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from types import ModuleType

import pytest

from weather_backfill.model.metrics import METRICS, RULE_SOURCES, SOURCES, Metric, Rule
from weather_backfill.refine import quality, rules
from weather_backfill.sources.dwd.products import PRODUCTS, Product

CITED = re.compile(
    r"(WMO-No\. \d+, |Zahumenský|CBS/OPAG-IOS/ET AWS-3/Doc\. 4\(1\), 2004, |DWD's (data set description|sheet)).*"
    r"(table|chapter|test|sheet|from \(x-2\)|preceding)"
    r"|measured: .*\d|counted: .*\d|\b[Oo]urs\b|by definition: \w|physics: \w|assumed: \w",
    re.DOTALL,
)
"""A document with its section, a measurement with its figures, or the word that it is ours."""
RANGE = ("lowest", "highest", "highest_per_minute")
STEP = ("max_step_per_minute", "max_step_per_hour", "step_fails")
PERSISTENCE = ("min_change_per_hour", "varies_above", "varies_below")
KINDS = {"range_by": RANGE, "step_by": STEP, "persistence_by": PERSISTENCE}
UNITS = {"MINUTE_US", "HOUR_US", "WINDOW_US"}
"""What is no rule."""


def limits(metric: Metric, names: tuple[str, ...]) -> dict[str, float]:
    found = {name: getattr(metric, name) for name in names}
    return {name: limit for name, limit in found.items() if limit is not None and limit is not True}


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_every_limit_has_its_source_and_every_source_its_limit(metric: Metric) -> None:
    told = {name for name in KINDS if getattr(metric, name)}
    assert told == (set() if metric.like else {name for name, kind in KINDS.items() if limits(metric, kind)})
    for source in (metric.range_by, *metric.step_by, metric.persistence_by):
        assert not source or source in SOURCES
    if metric.like:
        other, own = METRICS[metric.like], limits(metric, RANGE + STEP + PERSISTENCE)
        assert own, "like what?"
        assert own.items() <= limits(other, RANGE + STEP + PERSISTENCE).items(), "the limits of the other, or a part"
        assert not other.like, "the source is one step away"


def test_an_hour_s_step_has_a_source_of_its_own_where_it_is_another_than_a_minute_s() -> None:
    for metric in METRICS.values():
        if metric.step_by:
            same = metric.max_step_per_hour == metric.max_step_per_minute
            assert len(metric.step_by) == 2 or same, metric.name


@pytest.mark.parametrize("text", [*SOURCES.values(), *RULE_SOURCES.values()])
def test_a_source_is_a_document_and_section_or_a_measurement_or_says_that_it_is_ours(text: str) -> None:
    assert CITED.search(text), text


def test_every_aggregation_has_its_reason() -> None:
    assert set(RULE_SOURCES) == set(Rule)


@pytest.mark.parametrize("product", PRODUCTS.values(), ids=map(" ".join, PRODUCTS))
def test_what_departs_from_a_product_s_description_says_why(product: Product) -> None:
    evidence = product.interval.evidence
    if product.interval.assumed:
        assert re.match(r"as (hourly|daily|10-minute) \w+", evidence), "an assumption says what it goes by"
    else:
        assert CITED.search(evidence), evidence
    for name, column in product.columns.items():
        plain = column.scale == 1 and column.codes is None and column.missing == (-999.0,)
        if plain and not column.indicator and not column.sensor:
            continue
        assert CITED.search(column.source), f"{name}: {column.source!r}"


@pytest.mark.parametrize("module", [rules, quality], ids=["rules", "quality"])
def test_every_constant_of_the_rules_says_where_it_comes_from(module: ModuleType) -> None:
    text = ast.parse(Path(str(module.__file__)).read_text())
    seen = 0
    for here, following in zip(text.body, text.body[1:], strict=False):
        if not isinstance(here, ast.Assign) or not isinstance(here.targets[0], ast.Name):
            continue
        name = here.targets[0].id
        if name in UNITS:
            continue
        seen += 1
        assert isinstance(following, ast.Expr), f"{name} has no docstring"
        assert isinstance(following.value, ast.Constant)
        assert CITED.search(str(following.value.value)), f"{name}: {following.value.value}"
    assert seen >= 3
