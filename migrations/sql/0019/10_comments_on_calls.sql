-- Calls, and causes of their entity's score, are explained as anomalies are.

COMMENT ON COLUMN scored_metrics.reason IS
    'Why the reading is an anomaly, a call, or a cause of its entity''s score; null elsewhere.';
COMMENT ON COLUMN scored_metrics.expected_low IS
    'Smallest value that would have stayed below the threshold and, of a call that is no anomaly, '
    'would not have been called; null without an end, and where there is no reason.';
COMMENT ON COLUMN scored_metrics.expected_high IS
    'Largest value that would have stayed below the threshold and, of a call that is no anomaly, '
    'would not have been called; null like expected_low.';
