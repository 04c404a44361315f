-- The distances of lightning in `raw_rows` (a raw file) and their numbers of strikes, in order of series and time, without
-- those of no strike.
--
-- A station reports a distance of 0 for an interval without strikes (Tempest's obs_st: positions 14 and 15). Such a
-- zero is no distance, and a window without strikes has none. A distance whose count is not known stands for one
-- strike.
WITH chosen AS (
    SELECT observed_at, station_id, metric, value, interval_seconds, interval_end_offset_seconds
    FROM raw_rows
    WHERE metric IN ('lightning_mean_distance', 'lightning_strike_count') AND quality <> 4 AND value IS NOT NULL
)
SELECT distance.*, coalesce(counted.value, 1) AS strikes
FROM (FROM chosen WHERE metric = 'lightning_mean_distance') AS distance
LEFT JOIN (FROM chosen WHERE metric = 'lightning_strike_count') AS counted
    ON counted.station_id = distance.station_id
    AND counted.observed_at = distance.observed_at
    AND counted.interval_seconds IS NOT DISTINCT FROM distance.interval_seconds
    AND counted.interval_end_offset_seconds IS NOT DISTINCT FROM distance.interval_end_offset_seconds
WHERE strikes > 0
ORDER BY distance.station_id, distance.metric, distance.observed_at, distance.interval_seconds
