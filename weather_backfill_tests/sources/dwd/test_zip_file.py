"""Zips: real ones with their metadata, and every way to be wrong with its own message."""

from __future__ import annotations

import io
import zipfile
from datetime import date

import pytest

from weather_backfill.model.errors import SchemaError, UnreadableObjectError
from weather_backfill.sources.dwd import zip_file
from weather_backfill.sources.dwd.zip_file import open_archive, open_metadata, product_member, require_zip
from weather_backfill_tests.sources.dwd.files import DWD, NEW_YEAR, hourly, hourly_zip, needs_data, zipped

SOUND = hourly_zip(433, NEW_YEAR, [float(n % 30) for n in range(500)])


@needs_data
def test_a_real_zip_gives_product_and_metadata() -> None:
    path = DWD / "cdc-2020-03-27/hourly/air_temperature/recent/stundenwerte_TU_00078_akt.zip"
    opened = open_archive(path.read_bytes(), path.name)
    assert opened.product_name == "produkt_tu_stunde_20180924_20200326_00078.txt"
    metadata = opened.metadata
    assert [(p.latitude, p.longitude, p.height) for p in metadata.places][-1] == (52.4853, 7.9126, 65.0)
    assert [n.text for n in metadata.names] == ["Alfhausen-Thiene", "Alfhausen"]
    assert {p.parameter for p in metadata.parameters} == {"TT_TU", "RF_TU"}
    assert ("EE33", date(2017, 11, 7)) in {(i.text, i.start) for i in metadata.instruments}


@needs_data
def test_every_real_zip_opens() -> None:
    paths = sorted(DWD.glob("cdc-*/**/*.zip"))
    assert len(paths) > 200
    for path in paths:
        require_zip(path.read_bytes(), path.name)
        assert product_member(path.read_bytes(), path.name)


@needs_data
def test_metadata_lies_beside_ten_minute_products() -> None:
    path = DWD / "excerpts/Meta_Daten_zehn_min_sd_01766.zip"
    metadata = open_metadata(path.read_bytes(), path.name)
    assert [o.text for o in metadata.operators] == ["DWD", "DWD"]
    assert [n.text for n in metadata.names] == ["Greven", "Münster/Osnabrück"]
    zones = {(p.parameter, p.start): p.time_reference for p in metadata.parameters}
    assert "MEZ" in zones["SD_10", date(1995, 7, 5)]
    assert zones["SD_10", date(2000, 1, 1)] == "HHMM UTC"


@needs_data
def test_metadata_alone_is_no_station_file() -> None:
    path = DWD / "excerpts/observations_recent_extrema_wind_akt_meta.zip"
    with pytest.raises(SchemaError, match="0 product files"):
        open_archive(path.read_bytes(), path.name)
    assert len(open_metadata(path.read_bytes(), path.name).places) == 5


PAGE = b"<!DOCTYPE html><html><head><title>Wartung</title></head><body>Bitte warten</body></html>"


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (PAGE, UnreadableObjectError, "HTML page titled 'Wartung'"),
        (b"", UnreadableObjectError, "is empty"),
        (b"Not found", UnreadableObjectError, "is not a zip"),
        (SOUND[: len(SOUND) // 2], UnreadableObjectError, "is truncated"),
        (SOUND[:-30], UnreadableObjectError, "is truncated"),
        (zipped(produkt_a__txt="a", produkt_b__txt="b"), SchemaError, "2 product files"),
        (zipped(readme__txt="a"), SchemaError, "0 product files"),
        (zipped(**{"../produkt_a__txt": "a"}), UnreadableObjectError, "points out of the zip"),
        (zipped(**{"/produkt_a__txt": "a"}), UnreadableObjectError, "points out of the zip"),
        (zipped(**{"C:/produkt_a__txt": "a"}), UnreadableObjectError, "points out of the zip"),
        (zipped(**{"a\\..\\produkt_a__txt": "a"}), UnreadableObjectError, "points out of the zip"),
        (zipped(produkt_a__txt=bytes(100 << 20)), UnreadableObjectError, "zip bomb"),
    ],
)
def test_each_damage_has_its_own_message(data, kind, words) -> None:
    with pytest.raises(kind, match=words) as caught:
        open_archive(data, "stundenwerte_TU_00433_akt.zip")
    assert "stundenwerte_TU_00433_akt.zip" in str(caught.value)
    assert not caught.value.retryable


def test_flipped_bytes_inside_are_noticed() -> None:
    damaged = bytearray(SOUND)
    damaged[len(SOUND) // 3] ^= 0xFF
    with pytest.raises(UnreadableObjectError, match="is damaged"):
        open_archive(bytes(damaged), "x.zip")


def test_a_bomb_that_lies_about_its_size_is_refused(monkeypatch) -> None:
    body = hourly(433, NEW_YEAR, [1.0] * 2000).encode()
    data = bytearray(zipped(produkt_a__txt=body))
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = (100).to_bytes(4, "little")  # the directory's claim of the unpacked size
    with pytest.raises(UnreadableObjectError):
        open_archive(bytes(data), "x.zip")
    monkeypatch.setattr(zip_file, "MAX_PRODUCT_BYTES", 1000)
    with pytest.raises(UnreadableObjectError, match="zip bomb"):
        open_archive(zipped(produkt_a__txt=body), "x.zip")


def test_the_size_is_counted_while_it_is_read(monkeypatch) -> None:
    monkeypatch.setattr(zip_file, "MAX_PRODUCT_BYTES", 1000)
    monkeypatch.setattr(zipfile.ZipInfo, "file_size", property(lambda self: 10, lambda self, v: None), raising=False)
    with pytest.raises((UnreadableObjectError, SchemaError)):
        open_archive(zipped(produkt_a__txt="x" * 5000), "x.zip")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_method_that_unpacks_all_at_once_is_refused(method: int) -> None:
    """Its bytes can only be counted when they are all there, whatever the directory claims."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        archive.writestr("produkt_a.txt", bytes(1000))
    with pytest.raises(UnreadableObjectError, match=r"packed by method \d+: expected 8"):
        open_archive(packed.getvalue(), "x.zip")
