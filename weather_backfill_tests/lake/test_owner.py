"""A lake belongs to one installation: the first that works claims it, a second one is refused by name."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from weather_backfill.lake import layout, owner
from weather_backfill.model.errors import ForeignLakeError, UnreadableObjectError
from weather_backfill.storage.object_store import ObjectStore


def test_the_first_claims_and_the_second_is_refused_by_name(store: ObjectStore) -> None:
    assert owner.owner_of(store) is None
    first = owner.claim(store, "1" * 36, "alpha:/srv/dagster")
    assert owner.claim(store, "1" * 36, "a name that came later") == first, "all processes of an installation"
    with pytest.raises(ForeignLakeError) as refused:
        owner.claim(store, "2" * 36, "beta:/srv/dagster")
    told = str(refused.value)
    assert "alpha:/srv/dagster" in told
    assert f"since {first.since:%Y-%m-%d %H:%M} UTC" in told
    assert "lake take-over" in told
    assert owner.owner_of(store) == first, "a refusal changes nothing"


def test_of_many_that_claim_at_once_one_wins(store: ObjectStore) -> None:
    def tried(number: int) -> str | None:
        try:
            return owner.claim(store, f"installation-{number}", "host:/home").installation
        except ForeignLakeError:
            return None

    with ThreadPoolExecutor(6) as pool:
        winners = [name for name in pool.map(tried, range(6)) if name]
    known = owner.owner_of(store)
    assert known
    assert winners == [known.installation]


def test_a_take_over_keeps_the_lakes_id_and_refuses_the_owner_before(store: ObjectStore) -> None:
    first = owner.claim(store, "one", "alpha:/home")
    before, after = owner.take_over(store, "two", "beta:/home")
    assert (before, after.lake, after.installation) == (first, first.lake, "two")
    assert owner.take_over(store, "two", "beta:/home") == (after, after), "again changes nothing"
    with pytest.raises(ForeignLakeError, match="beta:/home"):
        owner.claim(store, "one", "alpha:/home")


def test_a_damaged_owner_stops_writers_until_it_is_taken_over(store: ObjectStore) -> None:
    store.put(layout.OWNER, b'{"lake": 1')
    with pytest.raises(UnreadableObjectError, match=r"owner\.json.*take-over"):
        owner.claim(store, "one", "alpha:/home")
    before, after = owner.take_over(store, "one", "alpha:/home")
    assert before is None
    assert owner.claim(store, "one", "alpha:/home") == after
