-- One row per window, station and metric, from the aggregates of some whole series of raw observations.
--
-- `aggregates` holds one row per series and window, made by aggregates.py from values that have not failed (quality 4):
-- failed ones stay in the raw data, flagged, and show in `flags`, a bit per flag: 2 pass, 4 not evaluated, 8 suspect,
-- 16 fail, 512 missing. `series` holds one row per series: its number (in order of station and metric), names,
-- aggregation rule, and slot_us, the microseconds between two grid slots (the cadence). `directions` holds the mean
-- unit vectors and `distances` the lightning statistics that pairs.py makes: these metrics have no other statistics.
WITH counted AS (
    SELECT
        aggregates.*,
        rule,
        rule IN ('direction', 'strikes') AS in_pairs,
        window_seconds * 1000000::BIGINT AS length_us,
        -- grid slots that start in the window; hourly readings have one in every fourth window
        greatest((start_us + length_us + slot_us - 1) // slot_us - (start_us + slot_us - 1) // slot_us, 1) AS expected,
        least(slots / expected + covered_us / length_us, 1.0) AS completeness
    FROM aggregates
    JOIN series USING (series)
),
paired AS (
    SELECT series, found.* EXCLUDE (station_id, metric)
    FROM (
        SELECT
            * EXCLUDE (east, north),
            sqrt(east * east + north * north) AS resultant_length,
            (degrees(atan2(east, north)) + 360.0) % 360.0 AS angle,
            -- where directions cancel out there is no mean; 0 is the code of a calm, north is 360
            CASE WHEN resultant_length > 1e-9 THEN if(angle < 1e-9, 360.0, angle) END AS mean
        FROM directions
        UNION ALL BY NAME
        FROM distances
    ) AS found
    JOIN series USING (station_id, metric)
)
SELECT
    series,
    make_timestamptz(start_us) AS window_start,
    window_seconds,
    good::INTEGER AS sample_count,
    expected::INTEGER AS expected_count,
    counted.completeness::DOUBLE AS completeness,
    CASE WHEN in_pairs THEN paired.mean WHEN rule <> 'last' THEN counted.mean END AS mean,
    if(in_pairs, paired.minimum, counted.minimum) AS minimum,
    if(in_pairs, paired.maximum, counted.maximum) AS maximum,
    CASE WHEN rule = 'sum' AND counted.completeness >= $complete THEN total END AS sum,
    CASE WHEN rule = 'sum' THEN total END AS partial_sum,
    if(rule = 'strikes', paired.first_value, counted.first_value) AS first,
    if(rule = 'strikes', paired.last_value, counted.last_value) AS last,
    CASE WHEN in_pairs THEN paired.deviation WHEN rule <> 'last' THEN counted.deviation END AS standard_deviation,
    paired.resultant_length AS resultant_length,
    CASE
        WHEN parts = 0 THEN if(flags & 16 > 0, 4, 9)
        WHEN counted.completeness < $complete OR flags & 24 > 0 THEN 3
        ELSE if(flags & 4 > 0, 2, 1)
    END::TINYINT AS quality
FROM counted
LEFT JOIN paired USING (series, start_us, window_seconds)
ORDER BY series, start_us, window_seconds
