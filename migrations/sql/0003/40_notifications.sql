-- What people and other systems are to be told, written in the transaction that caused it.
CREATE TABLE alerts (
    fingerprint      text        PRIMARY KEY,
    kind             text        NOT NULL,
    stream           text,
    subject          text        NOT NULL,
    severity         text        NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    state            text        NOT NULL CHECK (state IN ('open', 'resolved')),
    occurrences      bigint      NOT NULL DEFAULT 1,
    opened_at        timestamptz NOT NULL DEFAULT now(),
    last_seen_at     timestamptz NOT NULL DEFAULT now(),
    last_notified_at timestamptz,
    resolved_at      timestamptz,
    details          jsonb       NOT NULL DEFAULT '{}'
);
CREATE INDEX alerts_open ON alerts (state, last_seen_at);

COMMENT ON TABLE alerts IS
    'One row per thing that is or was wrong; repeats within the cool-down are counted, not sent.';

CREATE TABLE notifications (
    id           uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    fingerprint  text        NOT NULL,
    kind         text        NOT NULL,
    stream       text,
    severity     text        NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    title        text        NOT NULL,
    body         jsonb       NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX notifications_created ON notifications (created_at);

CREATE TABLE deliveries (
    notification_id  uuid        NOT NULL REFERENCES notifications ON DELETE CASCADE,
    channel          text        NOT NULL,
    status           text        NOT NULL DEFAULT 'waiting' CHECK (status IN
        ('waiting', 'delivered', 'abandoned')),
    attempts         integer     NOT NULL DEFAULT 0,
    next_try_at      timestamptz NOT NULL DEFAULT now(),
    last_error       text,
    delivered_at     timestamptz,
    PRIMARY KEY (notification_id, channel)
);
CREATE INDEX deliveries_due ON deliveries (next_try_at) WHERE status = 'waiting';

COMMENT ON TABLE notifications IS 'The outbox: a message with its id, one delivery per channel.';
COMMENT ON TABLE deliveries IS
    'Where a message went or still has to go; delivered at least once, the id tells repeats.';
