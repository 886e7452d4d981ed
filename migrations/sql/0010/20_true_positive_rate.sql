ALTER TABLE ml_models ADD COLUMN true_positive_rate double precision;
ALTER TABLE ml_models ADD COLUMN event_recall double precision;

COMMENT ON COLUMN ml_models.true_positive_rate IS
    'Share of the injected anomalous rows of the held-out data that it flags; null where nothing '
    'was measured, and for models trained before version 0010 of the schema.';
COMMENT ON COLUMN ml_models.event_recall IS
    'Share of the injected anomalies of which it flags at least one row; null as above.';
