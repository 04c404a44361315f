-- One row a 15-minute window, station and metric, from one row group of raw observations (`samples`).
--
-- Parameters: $slot_us, the microseconds between two grid slots (the cadence). `rules` holds a row a metric
-- with its aggregation rule; `directions` the vector means made by directions.sql.
-- Failed values (quality 4) take no part: they stay in the raw data, flagged. Slots are counted as the bits of
-- an integer, because counting distinct values takes four times as long.
WITH good AS (
    SELECT
        station_id,
        metric,
        observed_at,
        epoch_us(observed_at) AS time_us,
        time_us // 900000000 AS window_number,
        CASE WHEN quality <> 4 THEN value END AS value,
        quality
    FROM samples
),
grouped AS (
    SELECT
        station_id,
        metric,
        window_number,
        count(value) AS good,
        bit_count(bit_or(
            CASE WHEN value IS NOT NULL THEN
                1::BIGINT << (time_us // $slot_us - (window_number * 900000000) // $slot_us)::INTEGER
            END
        )) AS slots,
        min(value) AS minimum,
        max(value) AS maximum,
        sum(value) AS total,
        arg_min(value, time_us) AS first_value,
        arg_max(value, time_us) AS last_value,
        stddev_samp(value) AS deviation,
        -- a bit a flag: 2 pass, 4 not evaluated, 8 suspect, 16 fail, 512 missing
        bit_or(1 << quality::INTEGER) AS flags
    FROM good
    GROUP BY ALL
),
counted AS (
    SELECT
        *,
        -- grid slots that start in the window; hourly data has one in every fourth window
        greatest(
            (window_number * 900000000 + 900000000 + $slot_us - 1) // $slot_us
            - (window_number * 900000000 + $slot_us - 1) // $slot_us,
            1
        ) AS expected,
        least(coalesce(slots, 0) / expected, 1.0) AS completeness
    FROM grouped
)
SELECT
    make_timestamptz(window_number * 900000000) AS window_start,
    station_id,
    metric,
    good::INTEGER AS sample_count,
    expected::INTEGER AS expected_count,
    counted.completeness::DOUBLE AS completeness,
    CASE rule WHEN 'direction' THEN directions.mean WHEN 'last' THEN NULL ELSE total / good END AS mean,
    CASE WHEN rule <> 'direction' THEN minimum END AS minimum,
    CASE WHEN rule <> 'direction' THEN maximum END AS maximum,
    CASE WHEN rule = 'sum' AND counted.completeness >= 0.75 THEN total END AS sum,
    first_value AS first,
    last_value AS last,
    CASE WHEN rule NOT IN ('direction', 'last') THEN deviation END AS standard_deviation,
    directions.resultant_length AS resultant_length,
    CASE
        WHEN good = 0 THEN if(flags & 16 > 0, 4, 9)
        WHEN counted.completeness < 0.75 OR flags & 24 > 0 THEN 3
        ELSE if(flags & 4 > 0, 2, 1)
    END::TINYINT AS quality
FROM counted
JOIN rules USING (metric)
LEFT JOIN directions USING (station_id, metric, window_number)
ORDER BY station_id, metric, window_start
