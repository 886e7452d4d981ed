-- Both ends are thresholds after all: at 0 everything is an anomaly that has a score, at 1 nothing,
-- since no score reaches it.
ALTER TABLE thresholds DROP CONSTRAINT thresholds_threshold_check;
ALTER TABLE thresholds ADD CONSTRAINT thresholds_threshold_check
    CHECK (threshold >= 0 AND threshold <= 1);
