-- At 0 every reading is an anomaly, at 1 none: neither is a threshold. Whoever set one of them
-- gets the stream's own back.
ALTER TABLE thresholds DROP CONSTRAINT thresholds_threshold_check;
DELETE FROM thresholds WHERE threshold <= 0 OR threshold >= 1;
ALTER TABLE thresholds ADD CONSTRAINT thresholds_threshold_check
    CHECK (threshold > 0 AND threshold < 1);
