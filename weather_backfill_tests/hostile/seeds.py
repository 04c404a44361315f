"""Sound documents of every kind, made by code: what the mutations start from."""

from __future__ import annotations

import io
import json
import random
import zipfile
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import yaml

from weather_backfill.backfill.manifests import Manifest
from weather_backfill.backfill.plan import BackfillPlan, Order, Reason, Reprocess
from weather_backfill.lake import parquet
from weather_backfill.model.schemas import RAW

NOW = datetime(2024, 1, 1, tzinfo=UTC)
EPOCH = int(NOW.timestamp())


def np_stamps(*days: str) -> np.ndarray:
    """Midnights as the clock takes them."""
    return np.array([np.datetime64(day, "us").astype("i8") for day in days])


def tempest_message(rng: random.Random, minute: int = 0) -> dict[str, object]:
    """One message as the hub, the REST API or the WebSocket sends it."""
    kind, length = rng.choice([("obs_st", 18), ("obs_st", 22)] * 2 + [("obs_air", 8), ("obs_sky", 14), ("obs_sky", 17)])
    reports = [
        [EPOCH + 60 * (minute + n), *(rng.choice([None, 0, 3.5, -7.25, 1013]) for _ in range(length - 1))]
        for n in range(rng.choice([1, 1, 3]))
    ]
    message: dict[str, object] = {"type": kind, "serial_number": f"ST-{rng.randrange(3):08d}", "obs": reports}
    if rng.random() < 0.3:
        message = {"status": {"status_code": 0}, "device_id": 1234 + rng.randrange(3), **message}
        message.pop("serial_number")
    return message


def tempest_body(rng: random.Random) -> bytes:
    """An object of an archive: some messages, as writers put them."""
    messages = [tempest_message(rng, 5 * n) for n in range(rng.choice([1, 1, 2, 4]))]
    indent = rng.choice([None, None, None, 1])
    return framed(rng, [json.dumps(message, indent=indent).encode() for message in messages])


def framed(rng: random.Random, messages: list[bytes]) -> bytes:
    """Messages in an array, one a line, one after the other, in arrays a line, or behind record separators."""
    joined = rng.choice(
        [
            b"\n".join(messages), b"\n".join(messages) + b"\n", b"\r\n".join(messages), b"".join(messages),
            b"[" + b", ".join(messages) + b"]", b"[\n" + b",\n".join(messages) + b"\n]",
            b"\n".join(b"[" + message + b"]" for message in messages),
            b"".join(b"\x1e" + message + b"\n" for message in messages),
        ]
    )  # fmt: skip
    return rng.choice([b"", b"", b"\xef\xbb\xbf"]) + joined


def dwd_text(rng: random.Random) -> bytes:
    """An hourly temperature product."""
    end = rng.choice(["\n", "\r\n"])
    lines = ["STATIONS_ID;MESS_DATUM;QN_9;TT_TU;RF_TU;eor"]
    for hour in range(rng.choice([1, 5, 30])):
        stamp = f"{NOW + timedelta(hours=hour):%Y%m%d%H}"
        lines.append(f"{433:11d};{stamp};{3:5d};{rng.uniform(-20, 30):6.1f};{rng.choice([50.0, -999]):6.1f};eor")
    return (end.join(lines) + end).encode()


def dwd_ranges(rng: random.Random) -> bytes:
    """A one-minute precipitation product, whose rows stand for ranges."""
    lines = ["STATIONS_ID;MESS_DATUM_BEGINN;MESS_DATUM_ENDE;QN;RS_01;RTH_01;RWH_01;RS_IND_01;eor"]
    at = NOW
    for _ in range(rng.choice([1, 4])):
        end = at + timedelta(minutes=rng.choice([0, 5, 90]))
        lines.append(f"433;{at:%Y%m%d%H%M};{end:%Y%m%d%H%M};3;0.00;-999;-999;0;eor")
        at = end + timedelta(minutes=1)
    return ("\n".join(lines) + "\n").encode()


def dwd_metadata(rng: random.Random) -> dict[str, bytes]:
    """The metadata files of a zip."""
    end = rng.choice(["", "20200101", "99991231"])
    return {
        "Metadaten_Parameter_tu_stunde_00433.txt": (
            "Stations_ID;Von_Datum;Bis_Datum;Stationsname;Parameter;Parameterbeschreibung;Einheit;"
            "Datenquelle (Strukturversion=SV);Zusatz-Info;Besonderheiten;Literaturhinweis;eor\n"
            f"433;19510101;{end};Berlin;TT_TU;Temperatur;°C;Klima;in MEZ;;;eor\n"
            "433;20200102;20240101;Berlin;TT_TU;Temperatur;°C;Klima;in UTC;;;eor\ngeneriert: 01.01.2024\n"
        ).encode("latin-1"),
        "Metadaten_Geographie_00433.txt": (
            b"Stations_id;Stationshoehe;Geogr.Breite;Geogr.Laenge;von_datum;bis_datum;Stationsname\n"
            b"433;48.00;52.4675;13.4021;19380101;20001231;Berlin-Tempelhof\n433;48.0;52.46;13.40;20010101;;Berlin\n"
        ),
        "Metadaten_Stationsname_Betreibername_00433.txt": (
            b"Stations_ID;Stationsname;Von_Datum;Bis_Datum\n433;Berlin;19380101;\n\n"
            b"Stations_ID;Betreibername;Von_Datum;Bis_Datum\n433;DWD;19380101;20240101\n"
        ),
        "Metadaten_Geraete_Lufttemperatur_00433.txt": (
            "Stations_ID;Stationsname;Geo. Laenge [Grad];Geo. Breite [Grad];Von_Datum;Bis_Datum;Geraetetyp Name;eor\n"
            "433;Berlin;13.4;52.4;20000101;20240101;PT 100 (Luft);eor\n"
        ).encode("latin-1"),
    }


def dwd_zip(rng: random.Random, product: bytes | None = None) -> bytes:
    """A station's file; now and then a trick: a bomb, a climbing name, two products, other compressions."""
    buffer = io.BytesIO()
    method = rng.choice([zipfile.ZIP_DEFLATED] * 4 + [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("produkt_tu_stunde_20240101_20240102_00433.txt", product or dwd_text(rng))
        for name, data in dwd_metadata(rng).items():
            archive.writestr(name, data)
        trick = rng.random()
        if trick < 0.05:
            archive.writestr("Metadaten_Geographie_bomb.txt", b" " * rng.choice([1 << 20, 20 << 20]))
        elif trick < 0.10:
            archive.writestr(rng.choice(["../x", "/etc/x", "a/../../x", "C:\\x", "a\\..\\..\\x"]), b"x")
        elif trick < 0.15:
            archive.writestr("produkt_second.txt", b"x")
    data = bytearray(buffer.getvalue())
    if rng.random() < 0.05:  # say that it is encrypted
        for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            data[data.index(signature) + offset] |= 1
    if rng.random() < 0.05:  # claim another size or checksum
        at = data.index(b"PK\x01\x02") + rng.choice([16, 20, 24])
        data[at : at + 4] = rng.randbytes(4)
    return bytes(data)


def dwd_page(rng: random.Random) -> bytes:
    """A folder's index page."""
    names = [f"stundenwerte_TU_{n:05d}_20000101_20231231_hist.zip" for n in range(rng.choice([1, 5, 20]))]
    rows = [
        f'<a href="{n}">{n[:20]}..&gt;</a>  29-Mar-2024 08:55   {rng.choice(["70523", "70K", "1.5M"])}' for n in names
    ]
    return "\n".join(['<html><body><pre><a href="../">../</a>', *rows, "</pre></body></html>"]).encode()


def dwd_stations(rng: random.Random) -> bytes:
    """A station list."""
    lines = [
        "Stations_id von_datum bis_datum Stationshoehe geoBreite geoLaenge Stationsname Bundesland",
        "----------- --------- --------- ------------- --------- --------- ------------ ----------",
        *(
            f"{n:05d} 19500101 20240101 {n % 900:14d}     52.4675   13.4021 Ort {n}   Baden-Württemberg   "
            for n in range(1, rng.choice([2, 12]))
        ),
    ]
    return "\r\n".join(lines).encode("latin-1")


POINTS = ["site/weather/temp", "site/weather/wind", "site/meter/power"]


def aceiot_page(rng: random.Random) -> bytes:
    """A page of samples."""
    samples = [
        {
            "name": rng.choice([*POINTS, "site/other"]),
            "value": rng.choice([None, "1.5", "-3", "0", "1e3"]),
            "time": (NOW + timedelta(seconds=rng.choice([0, 30, 3600 * 30]) + n)).replace(tzinfo=None).isoformat()
            + rng.choice(["", "", ".25", "Z", "+01:00"]),
        }
        for n in range(rng.choice([0, 1, 5, 40]))
    ]
    if rng.random() < 0.2:
        samples = [{**s, "value": rng.choice([1.5, 2, None])} for s in samples]
    return json.dumps({"point_samples": samples, "next_cursor": None, "has_more": False}).encode()


def tenant_file(rng: random.Random) -> bytes:
    """A tenant's file with all services."""
    services: dict[str, object] = {
        "tempest": {
            "archive_url": "s3://acme-weather/tempest", "lookback_days": 30, "stations": ["ST-1"],
            "off_peak": {"start": "22:00", "end": "06:00", "time_zone": "Europe/Berlin"},
            "access_key_id": "${ACME_KEY}", "secret_access_key": "${ACME_SECRET}", "region": "eu-central-1",
        },
        "aceiot": {
            "base_url": "https://aceiot.example.org/api", "api_key": "${ACME_ACEIOT_KEY}", "sites": ["acme_campus"],
            "metrics": {"*/weather/temp": "air_temperature"}, "cadence_seconds": 60,
        },
        "dwd": {"stations": rng.choice([["00433"], "all", {"state": "Hessen"}]), "products": ["air_temperature"]},
    }  # fmt: skip
    kept = {name: services[name] for name in rng.sample(sorted(services), rng.choice([1, 2, 3]))}
    return yaml.safe_dump({"id": "acme", "name": "Acme", "services": kept}, sort_keys=False).encode()


def plan(rng: random.Random) -> BackfillPlan:
    """A plan of some days."""
    days = [date(2024, 1, 1) + timedelta(days=n) for n in range(rng.choice([1, 5, 40]))]
    reasons = {day: rng.choice(list(Reason)) for day in days}
    return BackfillPlan(
        "tempest", "acme", days[0], days[-1], rng.choice(list(Reprocess)), rng.choice(list(Order)), 30, reasons,
        10, 1000, 0, 12.0, True,
    )  # fmt: skip


def manifest(rng: random.Random) -> Manifest:
    """A manifest of that plan."""
    asked = plan(rng)
    return Manifest("tempest-acme-20240101-20240105-1", asked, [asked.days], "someone", NOW, labels={"why": "test"})


def raw_file(rng: random.Random) -> tuple[pa.Table, bytes]:
    """A raw day and its Parquet file."""
    rows = rng.choice([0, 1, 50, 3000])
    stations = sorted(rng.choices(["ST-1", "ST-2"], k=rows))
    columns = [
        pa.array([NOW + timedelta(seconds=n) for n in range(rows)], RAW.field("observed_at").type),
        pa.array(stations, pa.string()).dictionary_encode(),
        pa.array(["air_temperature"] * rows, pa.string()).dictionary_encode(),
        pa.array([rng.choice([None, 1.5, rng.random()]) for _ in range(rows)], pa.float64()),
        pa.array([1] * rows, pa.int8()),
        pa.array([rng.choice([None, 0, 60]) for _ in range(rows)], pa.int32()),
        pa.array([0] * rows, pa.int32()),
    ]
    table = pa.Table.from_arrays(columns, schema=RAW)
    return table, parquet.encode(table, {"source": "test"}).data
