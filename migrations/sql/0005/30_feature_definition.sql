-- The features of metrics have a column more (definition 2): days are computed anew, and no bundle
-- that was trained without it serves. Scores of the past stay as they are.
DELETE FROM lake_partitions WHERE stage = 'features' AND stream IN (
    SELECT stream FROM series
);
UPDATE bundles SET status = 'retired', reason = 'trained on features of definition 1'
WHERE (stream, detector, version) IN (
    SELECT stream, detector, version FROM champions WHERE detector = 'isolation_forest'
);
DELETE FROM champions WHERE detector = 'isolation_forest';
