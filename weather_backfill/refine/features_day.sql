-- One row per station and metric of one day, for the quarter's statistics.
--
-- `windows` holds the day's refined rows and `cadences` the seconds between two grid slots by station and metric. A window
-- weighs as much as its values cover: its completeness of its length, or of the grid where that is wider (a reading an
-- hour fills one window of four, and stands for the hour). Clock hours come first, a window in that of its midpoint: so hours are
-- alike for windows of any length. Files of schema 1 hold windows of 900 s, without partial sums: what fell in an
-- incomplete one is its mean times its samples. Comparisons are with rounded numbers, so that 0.04 + 0.06 is not more
-- than 0.1.
WITH weighed AS (
    SELECT
        windows.station_id::VARCHAR AS station_id,
        windows.metric::VARCHAR AS metric,
        (epoch_us(window_start) + coalesce(window_seconds, 900) * 500000::BIGINT) // 3600000000 AS hour,
        completeness * greatest(coalesce(window_seconds, 900), slot_seconds) AS covered,
        coalesce(window_seconds, 900) AS length,
        mean,
        minimum,
        maximum,
        coalesce(partial_sum, "sum", mean * sample_count) AS total
    FROM windows
    JOIN cadences ON cadences.station_id = windows.station_id::VARCHAR AND cadences.metric = windows.metric::VARCHAR
    WHERE mean IS NOT NULL OR completeness > 0
),
-- Rain of an hour and of six hours is the same rain told twice: of each station's day that length of windows counts
-- whose values cover most of it, the shorter one of two that cover as much.
chosen AS (
    SELECT station_id, metric, length
    FROM weighed
    WHERE metric = 'precipitation_amount'
    GROUP BY station_id, metric, length
    QUALIFY row_number() OVER (
        PARTITION BY station_id, metric ORDER BY least(round(sum(covered), 3), 86400) DESC, length
    ) = 1
),
hours AS (
    SELECT
        station_id,
        metric,
        hour,
        sum(covered) AS covered,
        sum(covered) FILTER (mean IS NOT NULL) AS weight,
        sum(mean * covered) AS weighted,
        sum(total) AS total,
        min(minimum) AS minimum,
        max(maximum) AS maximum
    FROM weighed
    LEFT JOIN chosen USING (station_id, metric, length)
    WHERE metric <> 'precipitation_amount' OR chosen.length IS NOT NULL
    GROUP BY ALL
)
SELECT
    station_id,
    metric,
    least(sum(covered), 86400.0) AS covered,
    sum(weight) AS weight,
    sum(weighted) AS weighted,
    round(sum(total), 6) AS total,
    min(minimum) AS minimum,
    max(maximum) AS maximum,
    count(*) FILTER (round(weighted / weight, 6) < 0) AS hours_below_0,
    count(*) FILTER (round(weighted / weight, 6) >= 30) AS hours_from_30,
    count(*) FILTER (round(total, 6) > 0.1) AS wet_hours
FROM hours
GROUP BY station_id, metric
ORDER BY station_id, metric
