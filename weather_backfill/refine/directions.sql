-- The wind directions of `raw_rows` (a raw file) as unit vectors, in order of series and time, without those of calms.
--
-- A calm is a mean wind speed under 0.2 m/s of the same interval (WMO-No. 8, Guide to Instruments and Methods of
-- Observation, chapter 5: direction is then coded 0 and means nothing). Where the speed is not known, a direction of 0
-- is taken for that code: north is 360.
WITH chosen AS (
    SELECT observed_at, station_id, metric, value, interval_seconds, interval_end_offset_seconds
    FROM raw_rows
    WHERE metric IN (
        'wind_from_direction', 'wind_speed',
        'wind_from_direction_of_gust', 'wind_gust_from_direction', 'wind_speed_of_gust'
    ) AND quality <> 4 AND value IS NOT NULL
)
SELECT
    direction.*,
    sin(radians(direction.value)) AS east,
    cos(radians(direction.value)) AS north
FROM (FROM chosen WHERE metric NOT IN ('wind_speed', 'wind_speed_of_gust')) AS direction
LEFT JOIN (FROM chosen WHERE metric IN ('wind_speed', 'wind_speed_of_gust')) AS speed
    ON speed.station_id = direction.station_id
    AND speed.observed_at = direction.observed_at
    AND speed.interval_seconds IS NOT DISTINCT FROM direction.interval_seconds
    AND speed.interval_end_offset_seconds IS NOT DISTINCT FROM direction.interval_end_offset_seconds
    AND speed.metric = CASE direction.metric
        WHEN 'wind_from_direction' THEN 'wind_speed' ELSE 'wind_speed_of_gust'
    END
WHERE CASE WHEN speed.value IS NULL THEN direction.value <> 0 ELSE speed.value >= $calm END
ORDER BY direction.station_id, direction.metric, direction.observed_at, direction.interval_seconds
