-- What people and other systems are to be told, written in the transaction that caused it.
CREATE TABLE alerts (
    fingerprint       text        PRIMARY KEY,
    kind              text        NOT NULL,
    stream            text,
    subject           text        NOT NULL,
    severity          text        NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    title             text        NOT NULL,
    state             text        NOT NULL CHECK (state IN ('open', 'resolved')),
    occurrences       bigint      NOT NULL DEFAULT 1,
    last_occurrence   text,
    cool_down         interval    NOT NULL,
    told              boolean     NOT NULL,
    told_severity     text        NOT NULL,
    opened_at         timestamptz NOT NULL,
    last_seen_at      timestamptz NOT NULL,
    last_notified_at  timestamptz NOT NULL,
    resolved_at       timestamptz,
    details           jsonb       NOT NULL DEFAULT '{}'
);
CREATE INDEX alerts_state ON alerts (state, last_seen_at);
-- Few are ever in it: alerts that came back within their cool-down.
CREATE INDEX alerts_untold ON alerts (last_notified_at) WHERE state = 'open' AND NOT told;

COMMENT ON TABLE alerts IS
    'One row per thing that is or was wrong; repeats within the cool-down are counted, not sent.';
COMMENT ON COLUMN alerts.last_occurrence IS
    'Name of what was counted last, such as a run''s id; the same one again is not counted.';
COMMENT ON COLUMN alerts.told IS
    'Whether a notification of this opening was written; one that came back within its cool-down '
    'waits for the end of it.';

CREATE TABLE notifications (
    id           uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    seq          bigint      GENERATED ALWAYS AS IDENTITY,
    fingerprint  text        NOT NULL,
    kind         text        NOT NULL,
    stream       text,
    subject      text        NOT NULL,
    severity     text        NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    state        text        NOT NULL CHECK (state IN ('firing', 'resolved', 'event')),
    title        text        NOT NULL,
    body         jsonb       NOT NULL,
    created_at   timestamptz NOT NULL,
    routed_at    timestamptz
);
CREATE INDEX notifications_created ON notifications (created_at);
CREATE INDEX notifications_fingerprint ON notifications (fingerprint, seq);
CREATE INDEX notifications_unrouted ON notifications (seq) WHERE routed_at IS NULL;

CREATE TABLE deliveries (
    notification_id  uuid        NOT NULL REFERENCES notifications ON DELETE CASCADE,
    channel          text        NOT NULL,
    -- As in notifications: messages of one fingerprint leave in order.
    seq              bigint      NOT NULL,
    fingerprint      text        NOT NULL,
    status           text        NOT NULL DEFAULT 'waiting' CHECK (status IN
        ('waiting', 'delivered', 'abandoned')),
    attempts         integer     NOT NULL DEFAULT 0,
    refusals         integer     NOT NULL DEFAULT 0,
    created_at       timestamptz NOT NULL,
    next_try_at      timestamptz NOT NULL,
    last_error       text,
    finished_at      timestamptz,
    PRIMARY KEY (notification_id, channel)
);
CREATE INDEX deliveries_due ON deliveries (channel, next_try_at) WHERE status = 'waiting';
CREATE INDEX deliveries_in_order ON deliveries (channel, fingerprint, seq)
    WHERE status = 'waiting';

COMMENT ON TABLE notifications IS 'The outbox: a message with its id, one delivery per channel.';
COMMENT ON COLUMN notifications.state IS
    'firing and resolved are the two ends of an alert; an event happens once and has no end.';
COMMENT ON COLUMN notifications.routed_at IS 'When its deliveries were written; null is not yet.';
COMMENT ON TABLE deliveries IS
    'Where a message went or still has to go; delivered at least once, the id tells repeats.';
COMMENT ON COLUMN deliveries.refusals IS 'Tries that the receiver answered with a refusal.';

CREATE TABLE github_issues (
    repository   text    NOT NULL,
    fingerprint  text    NOT NULL,
    number       integer NOT NULL,
    PRIMARY KEY (repository, fingerprint)
);

COMMENT ON TABLE github_issues IS 'The issue of each alert that was sent to GitHub.';

CREATE TABLE pulls (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source      text        NOT NULL,
    upto        timestamptz NOT NULL,
    rows        integer     NOT NULL,
    content     bytea,
    pulled_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX pulls_source ON pulls (source, id);

COMMENT ON TABLE pulls IS
    'What was fetched from another system, committed with how far it reaches; content is null once '
    'it lies in landing as a file named after the id.';

CREATE TABLE pulled_readings (
    source      text        NOT NULL,
    event_id    uuid        NOT NULL,
    event_time  timestamptz NOT NULL,
    PRIMARY KEY (source, event_id)
);
CREATE INDEX pulled_readings_time ON pulled_readings (source, event_time);

COMMENT ON TABLE pulled_readings IS
    'Readings of the span that is fetched again for those that came late; each is taken once.';

CREATE FUNCTION severity_rank(severity text) RETURNS integer
LANGUAGE sql IMMUTABLE AS $$
    SELECT array_position(ARRAY['info', 'warning', 'critical'], severity)
$$;

-- Write the message about an alert as it stands.
CREATE FUNCTION notify_of_alert(alert alerts, message_state text, moment timestamptz,
                                message_details jsonb) RETURNS uuid
LANGUAGE plpgsql AS $$
DECLARE
    made uuid;
BEGIN
    INSERT INTO notifications (fingerprint, kind, stream, subject, severity, state, title, body,
                               created_at)
    VALUES (alert.fingerprint, alert.kind, alert.stream, alert.subject, alert.severity,
            message_state, alert.title,
            jsonb_build_object('occurrences', alert.occurrences, 'since', alert.opened_at,
                               'details', message_details),
            moment)
    RETURNING id INTO made;
    -- Wakes the dispatchers when the transaction commits.
    PERFORM pg_notify('notifications', '');
    RETURN made;
END
$$;

-- Count an occurrence; return the message's id, or null where the cool-down holds it back.
CREATE FUNCTION raise_alert(
    p_fingerprint text, p_kind text, p_stream text, p_subject text, p_severity text,
    p_title text, p_details jsonb, p_occurrence text, p_cool_down interval,
    p_lasting boolean, p_now timestamptz DEFAULT NULL
) RETURNS uuid
LANGUAGE plpgsql AS $$
DECLARE
    moment timestamptz := coalesce(p_now, clock_timestamp());
    kept alerts;
    is_new boolean;
    reopened boolean;
    due boolean;
BEGIN
    LOOP
        INSERT INTO alerts (fingerprint, kind, stream, subject, severity, title, state,
                            last_occurrence, cool_down, told, told_severity, opened_at,
                            last_seen_at, last_notified_at, resolved_at, details)
        VALUES (p_fingerprint, p_kind, p_stream, p_subject, p_severity, p_title,
                CASE WHEN p_lasting THEN 'open' ELSE 'resolved' END,
                p_occurrence, p_cool_down, true, p_severity, moment, moment, moment,
                CASE WHEN NOT p_lasting THEN moment END, p_details)
        ON CONFLICT DO NOTHING;
        is_new := FOUND;
        SELECT * INTO kept FROM alerts WHERE fingerprint = p_fingerprint FOR UPDATE;
        -- It may have been pruned between the two statements.
        EXIT WHEN FOUND;
    END LOOP;
    IF NOT is_new THEN
        -- Others may have gone first while this one waited for the row.
        moment := coalesce(p_now, clock_timestamp());
        IF kept.last_occurrence = p_occurrence THEN
            RETURN NULL;
        END IF;
        reopened := kept.state = 'resolved' AND p_lasting;
        due := kept.last_notified_at + p_cool_down <= moment
            OR (p_lasting AND NOT reopened
                AND severity_rank(p_severity) > severity_rank(kept.told_severity));
        UPDATE alerts SET
            kind = p_kind, stream = p_stream, subject = p_subject, severity = p_severity,
            title = p_title, details = p_details, last_occurrence = p_occurrence,
            cool_down = p_cool_down,
            state = CASE WHEN p_lasting THEN 'open' ELSE 'resolved' END,
            resolved_at = CASE WHEN NOT p_lasting THEN moment END,
            occurrences = CASE WHEN reopened THEN 1 ELSE kept.occurrences + 1 END,
            opened_at = CASE WHEN reopened THEN moment ELSE kept.opened_at END,
            last_seen_at = greatest(kept.last_seen_at, moment),
            told = due OR (kept.told AND NOT reopened),
            told_severity = CASE WHEN due THEN p_severity ELSE kept.told_severity END,
            last_notified_at = CASE WHEN due THEN moment ELSE kept.last_notified_at END
        WHERE fingerprint = p_fingerprint
        RETURNING * INTO kept;
        IF NOT due THEN
            RETURN NULL;
        END IF;
    END IF;
    RETURN notify_of_alert(kept, CASE WHEN p_lasting THEN 'firing' ELSE 'event' END, moment,
                           kept.details);
END
$$;

-- Close an alert; return the message's id, or null where nothing was open or nobody was told.
CREATE FUNCTION resolve_alert(
    p_fingerprint text, p_details jsonb, p_now timestamptz DEFAULT NULL
) RETURNS uuid
LANGUAGE plpgsql AS $$
DECLARE
    moment timestamptz;
    kept alerts;
BEGIN
    SELECT * INTO kept FROM alerts
    WHERE fingerprint = p_fingerprint AND state = 'open' FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    moment := coalesce(p_now, clock_timestamp());
    UPDATE alerts SET state = 'resolved', resolved_at = moment
    WHERE fingerprint = p_fingerprint;
    IF NOT kept.told THEN
        RETURN NULL;
    END IF;
    RETURN notify_of_alert(kept, 'resolved', moment, p_details);
END
$$;

-- Write the messages of alerts that came back within their cool-down and are still open after it.
CREATE FUNCTION tell_held_back_alerts(p_now timestamptz DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    moment timestamptz := coalesce(p_now, clock_timestamp());
    kept alerts;
    written integer := 0;
BEGIN
    FOR kept IN
        SELECT * FROM alerts
        WHERE state = 'open' AND NOT told AND last_notified_at + cool_down <= moment
        ORDER BY last_notified_at FOR UPDATE SKIP LOCKED
    LOOP
        UPDATE alerts SET told = true, told_severity = severity, last_notified_at = moment
        WHERE fingerprint = kept.fingerprint;
        PERFORM notify_of_alert(kept, 'firing', moment, kept.details);
        written := written + 1;
    END LOOP;
    RETURN written;
END
$$;
