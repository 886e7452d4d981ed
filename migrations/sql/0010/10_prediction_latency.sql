-- What the workers of the API measure is lost with them, and no other process can ask them. This is
-- where the daily upkeep, the checks and the health report read it.
CREATE TABLE prediction_latency (
    hour timestamptz NOT NULL,
    stream text NOT NULL,
    route text NOT NULL,
    seconds double precision NOT NULL,
    requests bigint NOT NULL CHECK (requests > 0),
    PRIMARY KEY (hour, stream, route, seconds)
);

COMMENT ON TABLE prediction_latency IS
    'How long scoring requests took: a histogram per hour, stream and route, over all workers of '
    'the API.';
COMMENT ON COLUMN prediction_latency.hour IS 'Begin of the hour in which they were answered, UTC.';
COMMENT ON COLUMN prediction_latency.route IS 'Template of the route.';
COMMENT ON COLUMN prediction_latency.seconds IS
    'Upper end of the histogram''s class; each class begins where the one before ends.';
COMMENT ON COLUMN prediction_latency.requests IS 'Requests answered within the class.';
