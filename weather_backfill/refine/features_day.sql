-- One row per station and metric of one day, for the quarter's statistics.
--
-- `windows` holds the day's refined rows. Clock hours come first: hourly data has one window in four, 10-minute data
-- fills all, and so hours are alike for both. `filled` counts the grid slots that hold a value. An incomplete
-- window has no `sum`; the amount that fell in it is its mean times its samples. Comparisons are with rounded
-- numbers, so that 0.04 + 0.06 is not more than 0.1.
WITH hours AS (
    SELECT
        station_id::VARCHAR AS station_id,
        metric::VARCHAR AS metric,
        epoch_us(window_start) // 3600000000 AS hour,
        sum(round(completeness * expected_count)) AS filled,
        sum(sample_count) AS samples,
        sum(mean * sample_count) AS weighted,
        sum(coalesce("sum", mean * sample_count)) AS total,
        min(minimum) AS minimum,
        max(maximum) AS maximum
    FROM windows
    WHERE sample_count > 0
    GROUP BY ALL
)
SELECT
    station_id,
    metric,
    sum(filled)::BIGINT AS filled,
    sum(samples)::BIGINT AS samples,
    sum(weighted) AS weighted,
    round(sum(total), 6) AS total,
    min(minimum) AS minimum,
    max(maximum) AS maximum,
    count(*) FILTER (round(weighted / samples, 6) < 0) AS hours_below_0,
    count(*) FILTER (round(weighted / samples, 6) >= 30) AS hours_from_30,
    count(*) FILTER (round(total, 6) > 0.1) AS wet_hours
FROM hours
GROUP BY station_id, metric
ORDER BY station_id, metric
