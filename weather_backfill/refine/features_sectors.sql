-- The number of windows of one day with wind from each of sixteen sectors (0 is N, 1 NNE, ...), by station.
-- Calm windows have no mean direction and do not count.
SELECT
    station_id::VARCHAR AS station_id,
    (floor(round(mean / 22.5 + 0.5, 9))::INTEGER % 16) AS sector,
    count(*) AS windows
FROM windows
WHERE metric = 'wind_from_direction' AND mean IS NOT NULL
GROUP BY ALL
ORDER BY ALL
