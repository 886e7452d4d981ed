-- Who may call the API, and what was answered to writes that may be repeated.
CREATE TABLE api_keys (
    id            uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    prefix        text        NOT NULL UNIQUE,
    digest        bytea       NOT NULL CHECK (octet_length(digest) = 32),
    name          text        NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    scopes        text[]      NOT NULL CHECK (
        cardinality(scopes) > 0 AND scopes <@ ARRAY['ml:read', 'ml:write', 'ml:admin']),
    -- Null: the default of ANOMALY_API_PREDICTIONS_PER_MINUTE; 0: no limit.
    predictions_per_minute integer CHECK (predictions_per_minute >= 0),
    created_at    timestamptz NOT NULL DEFAULT now(),
    created_by    text        NOT NULL,
    expires_at    timestamptz,
    revoked_at    timestamptz,
    last_used_at  timestamptz
);

COMMENT ON TABLE api_keys IS 'API keys; only the SHA-256 of a key is kept.';
COMMENT ON COLUMN api_keys.prefix IS 'The part of a key before its dot: no secret, finds the row.';

-- Every process that answers requests forgets the key at once, whoever changed the row and how.
CREATE FUNCTION announce_api_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('api_keys', OLD.prefix);
    RETURN NULL;
END $$;
CREATE TRIGGER api_keys_changed AFTER DELETE OR UPDATE OF digest, scopes, predictions_per_minute,
    expires_at, revoked_at ON api_keys FOR EACH ROW EXECUTE FUNCTION announce_api_key();

CREATE TABLE idempotency_keys (
    api_key_id     uuid        NOT NULL,
    key            text        NOT NULL,
    route          text        NOT NULL,
    request_digest bytea       NOT NULL,
    status         integer,
    response       jsonb,
    created_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (api_key_id, route, key)
);
CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);

COMMENT ON TABLE idempotency_keys IS 'Answers to writes, kept for a day so that a retry repeats none.';
