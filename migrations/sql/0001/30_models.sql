-- Bundles of models, the ones in service, and the index of single models that people ask for.

CREATE TABLE bundles (
    stream        text        NOT NULL,
    detector      text        NOT NULL,
    version       integer     NOT NULL CHECK (version > 0),
    status        text        NOT NULL CHECK (status IN
        ('training', 'challenger', 'champion', 'retired', 'rejected', 'failed', 'deleted')),
    reason        text,
    path          text,
    digest        text,
    parent        integer,
    trained_at    timestamptz,
    window_start  timestamptz,
    window_end    timestamptz,
    metrics       jsonb       NOT NULL DEFAULT '{}',
    parameters    jsonb       NOT NULL DEFAULT '{}',
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (stream, detector, version),
    CHECK (status IN ('training', 'failed') OR (path IS NOT NULL AND digest IS NOT NULL))
);

COMMENT ON TABLE bundles IS 'Every trained bundle; deleting one is a status.';

CREATE TABLE champions (
    stream       text        NOT NULL,
    detector     text        NOT NULL,
    version      integer     NOT NULL,
    promoted_at  timestamptz NOT NULL DEFAULT now(),
    reason       text        NOT NULL,
    PRIMARY KEY (stream, detector),
    FOREIGN KEY (stream, detector, version) REFERENCES bundles
);

COMMENT ON TABLE champions IS 'The version in service per stream and detector: the truth.';

CREATE TABLE champion_history (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream       text        NOT NULL,
    detector     text        NOT NULL,
    version      integer     NOT NULL,
    previous     integer,
    promoted_at  timestamptz NOT NULL DEFAULT now(),
    reason       text        NOT NULL
);
CREATE INDEX champion_history_stream ON champion_history (stream, detector, id);

CREATE FUNCTION champion_history_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'champion_history is append-only';
END $$;
CREATE TRIGGER champion_history_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON champion_history
    FOR EACH STATEMENT EXECUTE FUNCTION champion_history_is_append_only();

COMMENT ON TABLE champion_history IS 'Every promotion and roll-back, in order; append-only.';

CREATE TABLE ml_models (
    id                   uuid PRIMARY KEY,
    stream               text    NOT NULL,
    device_id            text    NOT NULL,
    metric_name          text    NOT NULL,
    model_type           text    NOT NULL,
    bundle_version       integer NOT NULL,
    model_path           text,
    status               text    NOT NULL CHECK (status IN
        ('candidate', 'active', 'inactive', 'insufficient_history', 'failed', 'deleted')),
    accuracy             double precision,
    false_positive_rate  double precision,
    threshold            double precision,
    training_samples     bigint  NOT NULL DEFAULT 0,
    trained_at           timestamptz,
    last_used_at         timestamptz,
    created_at           timestamptz NOT NULL DEFAULT now(),
    UNIQUE (stream, model_type, bundle_version, device_id, metric_name),
    FOREIGN KEY (stream, model_type, bundle_version) REFERENCES bundles
);
CREATE UNIQUE INDEX ml_models_one_active
    ON ml_models (stream, device_id, metric_name, model_type) WHERE status = 'active';
CREATE INDEX ml_models_device ON ml_models (device_id, metric_name);

COMMENT ON TABLE ml_models IS
    'One row per series of each bundle. At most one is active per device, metric and type; '
    'deleting one is a status, so that what it said keeps its author.';
COMMENT ON COLUMN ml_models.accuracy IS 'Balanced accuracy on held-out data, 0 to 1.';
