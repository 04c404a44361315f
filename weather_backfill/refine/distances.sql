-- Distance of lightning by 15-minute window, from the raw file $path: the mean over the strikes, and the extremes, first
-- and last value and deviation of the minutes with strikes.
--
-- A station reports a distance of 0 for a minute without strikes (Tempest's obs_st: positions 14 and 15). Such a
-- zero is no distance, and a window without strikes has none. A distance whose count is not known stands for one strike.
WITH chosen AS (
    SELECT observed_at, station_id, metric, value
    FROM read_parquet($path)
    WHERE metric IN ('lightning_mean_distance', 'lightning_strike_count') AND quality <> 4 AND value IS NOT NULL
),
struck AS (
    SELECT distance.*, coalesce(counted.value, 1) AS strikes
    FROM (FROM chosen WHERE metric = 'lightning_mean_distance') AS distance
    LEFT JOIN (FROM chosen WHERE metric = 'lightning_strike_count') AS counted
        USING (station_id, observed_at)
    WHERE strikes > 0
)
SELECT
    station_id,
    metric,
    epoch_us(observed_at) // $window_us::BIGINT AS window_number,
    sum(value * strikes ORDER BY observed_at) / sum(strikes) AS mean,
    min(value) AS minimum,
    max(value) AS maximum,
    arg_min(value, observed_at) AS first_value,
    arg_max(value, observed_at) AS last_value,
    stddev_samp(value ORDER BY observed_at) AS deviation
FROM struck
GROUP BY ALL
