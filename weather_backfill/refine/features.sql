-- One row per station of a quarter, from the rows that features_day.sql and features_sectors.sql made of its days.
--
-- `days` and `sectors` hold those rows, `days` with the date. Completeness is the share of the quarter's time that values
-- cover, missing days included. `history` holds the spans of station_history.
WITH series AS (
    SELECT
        station_id,
        metric,
        sum(covered) / (86400 * ($quarter_end::DATE - $quarter_start::DATE)) AS completeness,
        sum(weighted) / sum(weight) AS mean,
        min(minimum) AS minimum,
        max(maximum) AS maximum,
        round(sum(total), 6) AS total,
        count(*) FILTER (minimum < 0) AS days_with_frost,
        count(*) FILTER (maximum < 0) AS days_below_0,
        count(*) FILTER (maximum >= 30) AS days_from_30,
        sum(hours_below_0) AS hours_below_0,
        sum(hours_from_30) AS hours_from_30,
        sum(wet_hours) AS wet_hours,
        first(date ORDER BY total DESC, date) AS largest_day,
        max(total) AS largest_total
    FROM days
    GROUP BY station_id, metric
),
kept AS (
    SELECT * FROM series WHERE completeness >= $complete
),
sector_sums AS (
    SELECT station_id, sector, sum(seconds) AS seconds FROM sectors GROUP BY station_id, sector
),
prevailing AS (
    SELECT
        station_id,
        ['N', 'NNE', 'NE', 'ENE', 'E', 'ESE', 'SE', 'SSE', 'S', 'SSW', 'SW', 'WSW', 'W', 'WNW', 'NW', 'NNW'][
            first(sector ORDER BY seconds DESC, sector) + 1
        ] AS name
    FROM sector_sums
    GROUP BY station_id
),
overlapping AS (
    SELECT *, least(coalesce(valid_to, $quarter_end::DATE), $quarter_end) - greatest(valid_from, $quarter_start) AS span
    FROM history
),
positions AS (
    SELECT
        station_id,
        first(struct_pack(name, latitude, longitude, height) ORDER BY span DESC, valid_from DESC) AS place
    FROM overlapping
    WHERE span > 0
    GROUP BY station_id
),
completeness AS (
    SELECT
        station_id,
        max(completeness) FILTER (metric = 'air_temperature') AS temperature,
        max(completeness) FILTER (metric = 'precipitation_amount') AS precipitation,
        max(completeness) FILTER (metric = 'wind_speed') AS wind,
        max(completeness) FILTER (metric = 'wind_from_direction') AS wind_direction,
        max(completeness) FILTER (metric = 'wind_speed_of_gust') AS gust,
        max(completeness) FILTER (metric = 'surface_air_pressure') AS pressure,
        max(completeness) FILTER (metric = 'relative_humidity') AS humidity,
        max(completeness) FILTER (metric = 'cloud_area_fraction') AS cloud
    FROM series
    GROUP BY station_id
)
SELECT
    $quarter_start::DATE AS quarter_start,
    station_id,
    temperature.mean AS temperature_mean,
    temperature.minimum AS temperature_minimum,
    temperature.maximum AS temperature_maximum,
    temperature.days_with_frost AS frost_days,
    temperature.days_below_0 AS ice_days,
    temperature.days_from_30 AS heat_days,
    temperature.hours_below_0 AS frost_hours,
    temperature.hours_from_30 AS heat_hours,
    rain.total AS precipitation_total,
    rain.wet_hours AS wet_hours,
    CASE WHEN rain.largest_total > 0 THEN rain.largest_day END AS wettest_day,
    rain.largest_total AS wettest_day_amount,
    wind.mean AS wind_mean,
    gust.maximum AS gust_maximum,
    CASE WHEN direction.metric IS NOT NULL THEN prevailing.name END AS prevailing_sector,
    pressure.mean AS pressure_mean,
    pressure.maximum - pressure.minimum AS pressure_range,
    humidity.mean AS humidity_mean,
    cloud.mean AS cloud_mean,
    coalesce(completeness.temperature, 0) AS temperature_completeness,
    coalesce(completeness.precipitation, 0) AS precipitation_completeness,
    coalesce(completeness.wind, 0) AS wind_completeness,
    coalesce(completeness.wind_direction, 0) AS wind_direction_completeness,
    coalesce(completeness.gust, 0) AS gust_completeness,
    coalesce(completeness.pressure, 0) AS pressure_completeness,
    coalesce(completeness.humidity, 0) AS humidity_completeness,
    coalesce(completeness.cloud, 0) AS cloud_completeness,
    place.name AS station_name,
    place.latitude AS latitude,
    place.longitude AS longitude,
    place.height AS height
FROM completeness
LEFT JOIN (FROM kept WHERE metric = 'air_temperature') AS temperature USING (station_id)
LEFT JOIN (FROM kept WHERE metric = 'precipitation_amount') AS rain USING (station_id)
LEFT JOIN (FROM kept WHERE metric = 'wind_speed') AS wind USING (station_id)
LEFT JOIN (FROM kept WHERE metric = 'wind_speed_of_gust') AS gust USING (station_id)
LEFT JOIN (FROM kept WHERE metric = 'wind_from_direction') AS direction USING (station_id)
LEFT JOIN (FROM kept WHERE metric = 'surface_air_pressure') AS pressure USING (station_id)
LEFT JOIN (FROM kept WHERE metric = 'relative_humidity') AS humidity USING (station_id)
LEFT JOIN (FROM kept WHERE metric = 'cloud_area_fraction') AS cloud USING (station_id)
LEFT JOIN prevailing USING (station_id)
LEFT JOIN positions USING (station_id)
ORDER BY station_id
