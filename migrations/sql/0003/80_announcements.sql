-- What processes keep in memory says itself when it changes, whoever changed it and how.
CREATE FUNCTION announce_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify(TG_ARGV[0], '');
    RETURN NULL;
END $$;

COMMENT ON FUNCTION announce_change IS
    'Trigger: tells the channel named by its argument, once per transaction, to read anew.';

CREATE TRIGGER thresholds_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON thresholds
    FOR EACH STATEMENT EXECUTE FUNCTION announce_change('thresholds');
-- A model that is deleted stops serving in the same moment as its row says so.
CREATE TRIGGER models_changed AFTER UPDATE OF status ON ml_models
    FOR EACH STATEMENT EXECUTE FUNCTION announce_change('models');
