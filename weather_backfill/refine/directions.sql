-- Unit-vector mean of wind directions by 15-minute window, calms excluded, from the raw file $path.
--
-- A calm is a mean wind speed under 0.2 m/s at the same time (WMO-No. 8, Guide to Instruments and Methods of
-- Observation, chapter 5: direction is then coded 0 and means nothing). Where directions cancel out, the mean
-- is null and the resultant length says why.
WITH chosen AS (
    SELECT observed_at, station_id, metric, value
    FROM read_parquet($path)
    WHERE metric IN (
        'wind_from_direction', 'wind_speed', 'wind_speed_of_gust',
        'wind_gust_from_direction', 'wind_from_direction_of_gust' -- the same, as older files name it
    ) AND quality <> 4 AND value IS NOT NULL
),
vectors AS (
    SELECT
        direction.station_id,
        direction.metric,
        epoch_us(direction.observed_at) // $window_us::BIGINT AS window_number,
        avg(sin(radians(direction.value))) AS east,
        avg(cos(radians(direction.value))) AS north
    FROM (FROM chosen WHERE metric NOT IN ('wind_speed', 'wind_speed_of_gust')) AS direction
    LEFT JOIN (FROM chosen WHERE metric IN ('wind_speed', 'wind_speed_of_gust')) AS speed
        ON speed.station_id = direction.station_id
        AND speed.observed_at = direction.observed_at
        AND speed.metric = CASE direction.metric
            WHEN 'wind_from_direction' THEN 'wind_speed' ELSE 'wind_speed_of_gust'
        END
    WHERE speed.value IS NULL OR speed.value >= 0.2
    GROUP BY ALL
)
SELECT
    station_id,
    metric,
    window_number,
    sqrt(east * east + north * north) AS resultant_length,
    CASE WHEN resultant_length > 1e-9 THEN (degrees(atan2(east, north)) + 360.0) % 360.0 END AS mean
FROM vectors
