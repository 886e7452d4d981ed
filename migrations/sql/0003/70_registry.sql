-- What a version had to pass before it served, and what MLflow still has to be told.
ALTER TABLE bundles ADD COLUMN gates jsonb NOT NULL DEFAULT '[]';

COMMENT ON COLUMN bundles.gates IS
    'What the version had to pass: gate, value, bound and passed of each.';

-- What MLflow still has to be told; it mirrors, it never decides.
CREATE TABLE registry_mirror (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream      text        NOT NULL,
    detector    text        NOT NULL,
    version     integer     NOT NULL,
    action      text        NOT NULL CHECK (action IN ('version', 'alias', 'status')),
    status      text        NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'done')),
    attempts    integer     NOT NULL DEFAULT 0,
    next_try_at timestamptz NOT NULL DEFAULT now(),
    last_error  text,
    mlflow_run  text,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX registry_mirror_due ON registry_mirror (next_try_at) WHERE status = 'waiting';

COMMENT ON TABLE registry_mirror IS
    'Bundles, aliases and statuses that MLflow has yet to be told, written with what they mirror.';
