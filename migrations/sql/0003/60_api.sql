-- Who may call the API, and what was answered to writes that may be repeated.
CREATE TABLE api_keys (
    id            uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    prefix        text        NOT NULL UNIQUE,
    digest        bytea       NOT NULL,
    name          text        NOT NULL,
    scopes        text[]      NOT NULL CHECK (scopes <@ ARRAY['ml:read', 'ml:write', 'ml:admin']),
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz,
    revoked_at    timestamptz,
    last_used_at  timestamptz
);

COMMENT ON TABLE api_keys IS 'API keys; only the SHA-256 of a key is kept.';

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
