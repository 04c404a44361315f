-- The covered seconds of one day with wind from each of sixteen sectors (0 is N, 1 NNE, ...), by station.
-- Calm windows have no mean direction and do not count. Seconds are rounded, so that equal ones are equal.
SELECT
    windows.station_id::VARCHAR AS station_id,
    (floor(round(mean / 22.5 + 0.5, 9))::INTEGER % 16) AS sector,
    round(sum(completeness * greatest(coalesce(window_seconds, 900), slot_seconds)), 3) AS seconds
FROM windows
JOIN cadences ON cadences.station_id = windows.station_id::VARCHAR AND cadences.metric = windows.metric::VARCHAR
WHERE windows.metric = 'wind_from_direction' AND mean IS NOT NULL
GROUP BY ALL
ORDER BY ALL
