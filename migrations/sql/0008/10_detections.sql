-- Detections hold both scales: anomaly_score as devices' clients know it, score as everywhere else.

CREATE FUNCTION decision_score(score double precision, threshold double precision)
RETURNS double precision IMMUTABLE PARALLEL SAFE LANGUAGE sql AS $function$
    SELECT CASE WHEN score < threshold THEN (threshold - score) / threshold
                ELSE (threshold - score) / coalesce(nullif(1 - threshold, 0), 1) END
$function$;

COMMENT ON FUNCTION decision_score IS
    'A score of 0 to 1 as devices'' clients see it: 1 ordinary, an anomaly at 0 and below.';

ALTER TABLE anomaly_detections ADD COLUMN score double precision CHECK (score BETWEEN 0 AND 1);
UPDATE anomaly_detections
    SET score = anomaly_score, anomaly_score = decision_score(anomaly_score, threshold);

COMMENT ON COLUMN anomaly_detections.score IS
    'The platform''s score: 0 ordinary to 1 most unusual; in the views it is anomaly_score.';
COMMENT ON COLUMN anomaly_detections.anomaly_score IS
    '1 ordinary to -1 most unusual, an anomaly at 0 and below; in the views it is decision_score.';

-- A program that was started before this migration writes its score as anomaly_score.
CREATE FUNCTION complete_detection() RETURNS trigger LANGUAGE plpgsql AS $function$
BEGIN
    NEW.score := NEW.anomaly_score;
    NEW.anomaly_score := decision_score(NEW.score, NEW.threshold);
    RETURN NEW;
END $function$;

COMMENT ON FUNCTION complete_detection IS
    'Gives both scales to a detection that an older program writes.';

CREATE TRIGGER anomaly_detections_of_older_programs BEFORE INSERT ON anomaly_detections
    FOR EACH ROW WHEN (NEW.score IS NULL) EXECUTE FUNCTION complete_detection();
