"""Partition keys: every key survives the round trip, and nothing hostile becomes one."""

from __future__ import annotations

from datetime import UTC, date, datetime

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weather_backfill.dagster.partitions import daily_by_tenant
from weather_backfill.model.errors import ConfigurationError
from weather_backfill.model.partitions import (
    PartitionKey,
    by_tenant,
    days_between,
    tenants_partition_name,
    validate_tenant_id,
)

TENANTS = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,62}", fullmatch=True)
KEYS = st.builds(PartitionKey, st.dates(), TENANTS)
HOSTILE = [
    "", ".", "..", "../x", "a/b", "a\\b", "a|b", "a,b", "a b", "A", "-a", "_a", "a.b", "a\n", "\na", "a\0", "a%2fb",
    "\u0661", "a\u0661", "\uff11", "\u00e4", "a\u200b", "a" * 64, "a'b", 'a"b', "a...b", "$(a)", "${A}", "~",
]  # fmt: skip


@given(KEYS)
def test_every_key_survives_the_round_trip(key: PartitionKey) -> None:
    assert PartitionKey.parse(str(key)) == key


@given(KEYS)
def test_our_keys_are_dagsters(key: PartitionKey) -> None:
    assert str(key) == str(dg.MultiPartitionKey({"date": key.date.isoformat(), "tenant": key.tenant}))


@given(
    st.text(max_size=40)
    | st.builds(
        lambda day, how, end: day.strftime(how) + end,
        st.dates(min_value=date(1000, 1, 1)),
        st.sampled_from(["%Y-%m-%d", "%Y%m%d", "%G-W%V-%u", "%GW%V"]),
        st.sampled_from(["|a", "|a\n", "|A", "a", ""]),
    )
)
def test_a_text_is_a_key_only_if_it_is_how_the_key_is_written(text: str) -> None:
    """One day of one tenant has one key: otherwise the same day would be two partitions."""
    try:
        key = PartitionKey.parse(text)
    except ConfigurationError:
        return
    assert str(key) == text


@pytest.mark.parametrize("tenant", HOSTILE)
def test_a_hostile_id_is_no_tenant(tenant: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is not allowed: expected 1 to 63 characters"):
        validate_tenant_id(tenant)
    with pytest.raises(ConfigurationError):
        PartitionKey.parse(f"2024-01-01|{tenant}")


@pytest.mark.parametrize("tenant", [None, 7, b"acme", ["acme"]])
def test_an_id_of_another_type_is_no_tenant(tenant: object) -> None:
    with pytest.raises(ConfigurationError):
        validate_tenant_id(tenant)  # type: ignore[arg-type]


def test_a_long_hostile_id_does_not_flood_the_message() -> None:
    with pytest.raises(ConfigurationError) as caught:
        validate_tenant_id("!" * 1_000_000)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-01", "acme", "|", "2024-01-01|", "|acme", "2024-02-30|acme", "2024-1-1|acme", "24-01-01|acme",
        "20240101|acme", "2024-W01-1|acme", "2024-01-01T00:00|acme", " 2024-01-01|acme", "2024-01-01|acme|x",
        "2024-01-01|acme\n", "\u0662\u0660\u0662\u0664-01-01|acme", "0000-01-01|acme",
    ],
)  # fmt: skip
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        PartitionKey.parse(text)


def test_the_message_says_what_was_expected() -> None:
    with pytest.raises(ConfigurationError, match=r"'2024-13-01\|acme' is not valid .*expected 'YYYY-MM-DD\|tenant'"):
        PartitionKey.parse("2024-13-01|acme")


def test_a_day_starts_at_midnight_utc() -> None:
    assert PartitionKey.parse("2024-03-31|acme").start == datetime(2024, 3, 31, tzinfo=UTC)


@given(st.lists(KEYS, max_size=30), st.randoms())
def test_days_are_grouped_by_tenant_and_in_order(keys: list[PartitionKey], random: object) -> None:
    shuffled = list(keys)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    grouped = by_tenant(str(key) for key in shuffled)
    assert all(days == sorted(days) for days in grouped.values())
    assert sorted((day, tenant) for tenant, days in grouped.items() for day in days) == sorted(
        (key.date, key.tenant) for key in keys
    )


@given(st.dates(max_value=date(9998, 1, 1)), st.integers(0, 400))
def test_days_between_holds_both_ends(start: date, length: int) -> None:
    end = date.fromordinal(start.toordinal() + length)
    days = days_between(start, end)
    assert (days[0], days[-1], len(days)) == (start, end, length + 1)
    assert days == sorted(set(days))


def test_the_partitions_are_the_days_of_the_registered_tenants() -> None:
    with dg.instance_for_test() as instance:
        instance.add_dynamic_partitions(tenants_partition_name("tempest"), ["acme", "borealis"])
        partitions = daily_by_tenant("tempest", date(2024, 1, 1))
        keys = partitions.get_partition_keys(
            current_time=datetime(2024, 1, 4, 12, tzinfo=UTC), dynamic_partitions_store=instance
        )
    expected = {str(PartitionKey(date(2024, 1, day), name)) for day in (1, 2, 3) for name in ("acme", "borealis")}
    assert set(keys) == expected, "the day that is running is no partition yet"
